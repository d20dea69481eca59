"""Units, counters and closing words of the languages whose benchmarks we read.

In Chinese, Japanese and Korean no space parts them: "12平方厘米", "5個です", "12개입니다".
"""

from __future__ import annotations

import re

from rewards.math.vocabulary.han import han_number
from rewards.math.vocabulary.words import word_list, word_set

# canonical unit -> its words
_UNIT_WORDS = {
    "meter": "米 公尺 メートル 미터 metros mètres метр метра метров মিটার మీటర్లు เมตร mita",
    "kilometer": "千米 公里 キロメートル キロ 킬로미터 kilómetros kilomètres километр километра "
    "километров কিলোমিটার కిలోమీటర్లు กิโลเมตร kilomita",
    "centimeter": "厘米 公分 センチメートル センチ 센티미터 centímetros centimètres сантиметр "
    "сантиметра сантиметров সেন্টিমিটার సెంటీమీటర్లు เซนติเมตร sentimita",
    "millimeter": "毫米 ミリメートル ミリ 밀리미터",
    "decimeter": "分米",
    "mile": "英里 マイル 마일 millas milles meilen миля мили миль মাইল మైళ్ళు మైళ్లు ไมล์ maili",
    "foot": "英尺 フィート 피트 pieds fuß фут фута футов ফুট అడుగులు ฟุต futi",
    "inch": "英寸 インチ 인치 pulgadas pouces zoll дюйм дюйма дюймов ইঞ্চি అంగుళాలు นิ้ว inchi",
    "yard": "码 ヤード 야드 yardas ярд ярда ярдов গজ หลา",
    "gram": "克 グラム 그램 gramos gramm грамм грамма граммов গ্রাম గ్రాములు กรัม gramu",
    "kilogram": "千克 公斤 キログラム 킬로그램 kilogramos килограмм килограмма килограммов কেজি "
    "কিলোগ্রাম కిలోగ్రాములు กิโลกรัม kilo",
    "pound": "磅 ポンド 파운드 libras livres pfund фунт фунта фунтов পাউন্ড పౌండ్లు ปอนด์ pauni",
    "ounce": "盎司 オンス 온스 onzas onces unzen унция унции унций আউন্স ఔన్సులు ออนซ์ aunsi",
    "ton": "吨 トン 톤",
    "liter": "升 リットル 리터 litros litres liter литр литра литров লিটার లీటర్లు ลิตร lita",
    "milliliter": "毫升 ミリリットル 밀리리터",
    "second": "秒 秒钟 초 segundos secondes sekunden секунда секунды секунд সেকেন্ড సెకన్లు "
    "วินาที sekunde",
    "minute": "分钟 分鐘 分 분 minutos minutes minuten минута минуты минут মিনিট నిమిషాలు นาที dakika",
    "hour": "小时 小時 時間 时 시간 horas heures stunden stunde час часа часов ঘণ্টা ঘন্টা గంటలు "
    "ชั่วโมง saa masaa",
    "day": "天 日 일 días dias jours tage tagen день дня дней দিন రోజులు วัน siku",
    "week": "周 星期 週間 주 semanas semaines wochen неделя недели недель সপ্তাহ వారాలు สัปดาห์ wiki",
    "month": "个月 個月 月 か月 ヶ月 개월 meses mois monate месяц месяца месяцев মাস నెలలు เดือน "
    "miezi mwezi",
    "year": "年 岁 歲 歳 才 년 살 세 años ans jahre jahren год года лет বছর সంవత్సరాలు సంవత్సరాలు "
    "ปี miaka mwaka",
    "dollar": "美元 美金 ドル 달러 dólares dólar доллар доллара долларов ডলার డాలర్లు డాలర్ "
    "ดอลลาร์ ดอลล่าร์ เหรียญ dola",
    "cent": "美分 セント 센트 centavos centimes цент цента центов সেন্ট సెంట్లు เซนต์ senti",
    "euro": "欧元 ユーロ 유로 евро ইউরো యూరోలు ยูโร yuro",
    "sterling": "英镑",
    "yen": "日元 円 엔",
    "yuan": "元 块 人民币",
    "won": "韩元 ウォン 원",
    "ruble": "卢布 рубль рубля рублей",
    "taka": "টাকা",
    "rupee": "卢比 রুপি రూపాయలు รูปี rupia",
    "baht": "泰铢 บาท",
    "shilling": "shilingi",
}
_RUN_SCRIPTS = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_POWERS = (("平方", 2), ("立方", 3), ("제곱", 2), ("세제곱", 3))
_COUNTERS = word_list(
    "个 個 只 隻 人 名 位 本 枚 件 条 條 张 張 辆 輛 台 支 枝 朵 棵 颗 粒 片 双 对 套 间 家 所 座 "
    "次 回 遍 页 頁 题 道 种 種 份 杯 瓶 盒 箱 袋 包 桶 碗 盘 根 头 匹 架 艘 层 级 节 组 组合 "
    "班 队 步 倍 羽 頭 冊 足 着 通 通り 軒 箇 株 束 篇 首 場 场 趟 つ ヶ "
    "개 명 마리 권 장 병 대 번 그루 송이 자루 켤레 벌 채 척 가지 쪽 점 배"
)
_CLOSING = word_set(
    "です でした だ である になります となります になる ます を の 了 整 "
    "입니다 이다 이에요 예요 임 이 가 됩니다 이됩니다 가됩니다 을 를"
)
_NO_NOUN = re.compile(
    "[一二三四五六七八九十百千万亿兆零两半几數数第除乘加减負负多余餘不没非或和或者以上下约約]|분의|분|아니|ない"
)
_MAX_NOUN = 8
_MAX_WORDS = 32
_HAN_DIGITS = "〇零一二三四五六七八九十百千万亿兩两半"
_ENDS = r"(?=[\W\d]|\Z|で|だ|입|이다)"
# What makes another number of the one it stands behind. 乘客 are passengers, 加仑 a gallon.
_ARITHMETIC = re.compile(
    rf"[-−–—－+＋*/×÷^=±]\s?[{_HAN_DIGITS}일이삼사오육칠팔구십백천반]"
    rf"|[加减減乘乗除](?:[以去上{_HAN_DIGITS}]|{_ENDS})"
    rf"|[又の]\s?(?:[{_HAN_DIGITS}]|{_ENDS})|[点點][{_HAN_DIGITS}]"
    rf"|[成折割](?:[{_HAN_DIGITS}扣引るり]|{_ENDS})|\w{{0,3}}半{_ENDS}|반{_ENDS}"
    r"|[的の의]?\s?(?:平方|立方|[二三]?[乘乗]|제곱|세제곱|阶乘|階乗|倒数|逆数)"
    rf"(?:根|{_ENDS})|(?:以[上下内內]|[余餘多几]){_ENDS}"
    "|足す|引く|かける|掛ける|더하기|빼기|곱하기|나누기"
    "|의?\\s?[이삼사오육칠팔구십백천]+배"
)
_FIRST = re.compile(
    r"(?:choose|plus|minus|mod|modulo|divided|multiplied|squared|cubed|factorial)\b"
    "|不(?!同)|没|沒|错|錯|误|誤",
    re.IGNORECASE,
)
_ANYWHERE = re.compile("分[之の]|ぶんの|분의|或|(?:では|じゃ)ない|아니|틀[렸린]")
_CLAUSE = re.compile(r"\s{0,9}([^，,、；;：:(（\n]*)")
_SIGN_OR_BOUND = re.compile(
    "(?:[负負减減加乘乗除]的?|[乘除]以|[减減]去|加上|零下|マイナス|마이너스|[大小][于於]|超过|不到)"
    r"\s{0,3}\Z"
)

WORDS = {word: name for name, words in _UNIT_WORDS.items() for word in words.split()}
_RUN_UNITS = sorted((word for word in WORDS if _RUN_SCRIPTS.match(word)), key=len, reverse=True)
_LONGEST_COUNTERS = sorted(set(_COUNTERS), key=len, reverse=True)


def is_run(word: str) -> bool:
    """Whether a word is of a script that writes sentences without spaces."""
    return bool(_RUN_SCRIPTS.match(word))


def run_unit(word: str) -> tuple[tuple[tuple[str, int], ...], str] | None:
    """The unit at the start of an unspaced word and what is left; `None` if it counts nothing.

    A counter (个, 本, 개) is no unit: `()`.
    """
    for sign, power in _POWERS:
        rest = word.removeprefix(sign)
        if rest != word and (found := run_unit(rest)) and found[0]:
            return tuple((name, power) for name, _ in found[0]), found[1]
    unit = next((one for one in _RUN_UNITS if word.startswith(one)), None)
    counter = next((one for one in _LONGEST_COUNTERS if word.startswith(one)), None)
    if unit is not None and (counter is None or len(unit) >= len(counter)):
        return ((WORDS[unit], 1),), word[len(unit) :]
    return ((), word[len(counter) :]) if counter else None


def closes(rest: str) -> bool:
    """Whether what follows number and unit ends a sentence and says nothing more."""
    return rest == "" or rest in _CLOSING


def is_counted(rest: str) -> bool:
    """Whether what follows a unit or a counter can be the noun counted: "12个苹果"."""
    return closes(rest) or (len(rest) <= _MAX_NOUN and not _NO_NOUN.search(rest))


def makes_another_number(before: str, behind: str) -> bool:
    """Whether the words around a lone number change or deny it: "负 5", "5 又三分之一", "5 半".

    Words that only say what is counted do not: "5 苹果", "5 半径", "りんご 5 個".
    """
    clause = _CLAUSE.match(behind)
    said = clause[1] if clause else ""
    first, *others = said.split()[:_MAX_WORDS] or [""]
    if _SIGN_OR_BOUND.search(before) or _FIRST.match(said) or _ANYWHERE.search(said):
        return True
    if _ARITHMETIC.match(said) or any(_ARITHMETIC.match(word) for word in others):
        return True
    counted = run_unit(first)
    for word in (first, counted[1] if counted else ""):
        found = han_number(word)
        if found is not None and can_follow_number(found[1]):
            return True
    return False


def can_follow_number(rest: str) -> bool:
    """Whether a run is nothing, a unit, or a counter with its noun, as behind a number."""
    found = run_unit(rest)
    return closes(rest) or (found is not None and is_counted(found[1]))
