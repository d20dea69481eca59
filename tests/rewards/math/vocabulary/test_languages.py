"""Answers said in the languages of MGSM and a few more, with their digits and separators."""

import pytest

from rewards import verify

SAID = {
    "bn": ["উত্তর: {}", "উত্তর হল {}।", "চূড়ান্ত উত্তর: {}", "উত্তর হলো {} ডলার।"],
    "de": ["Die Antwort ist {}.", "Antwort: {}", "Die Antwort lautet {} Eier.", "Antwort: **{}**"],
    "en": ["The answer is {}.", "Answer \\[ {} \\]", "**Answer:** {}", "The largest $n$ is {}.",
           "Final answer\n$${}$$", "Result: {}"],
    "es": ["La respuesta es {}.", "Respuesta: {}", "La respuesta final es {} huevos.",
           "La respuesta es **{}**."],
    "fr": ["La réponse est {}.", "Réponse : {}", "La réponse finale est {} œufs."],
    "ja": ["答えは{}です。", "答え：{}", "答え: {}個", "最終的な答えは {} ドルです。",
           "したがって、合計は{}個です。"],
    "ru": ["Ответ: {}", "Ответ — {}.", "Ответ: {} яиц.", "Окончательный ответ: {}"],
    "sw": ["Jibu ni {}.", "Jibu: {}", "Jibu la mwisho ni dola {}.", "Jibu ni mayai {}."],
    "te": ["సమాధానం: {}", "సమాధానం {}.", "జవాబు: {} డాలర్లు"],
    "th": ["คำตอบคือ {}", "คำตอบ: {}", "คำตอบคือ {} ดอลลาร์", "คำตอบสุดท้ายคือ {}"],
    "zh": ["答案是{}。", "答案：{}", "答: {}", "【答案】{}", "答：小明有{}个苹果。",
           "所以最终答案为{}个苹果。",
           "因此一共有{}个。", "正确答案是 ${}$ 元。"],
    "ko": ["정답은 {}입니다.", "답: {}", "최종 답: {}개", "정답: {}원"],
    "hi": ["उत्तर: {}"],
    "pl": ["Odpowiedź: {}", "Ostateczna odpowiedź to {}."],
    "pt": ["A resposta é {}.", "Resposta: {}"],
    "it": ["La risposta è {}."],
}  # fmt: skip


@pytest.mark.parametrize("language", SAID)
def test_an_answer_is_found_in_its_language(language):
    for said in SAID[language]:
        assert (said, verify("3 + 4.\n" + said.format(18), "18").score) == (said, 1.0)
        assert (said, verify("3 + 4.\n" + said.format(19), "18").score) == (said, 0.0)


@pytest.mark.parametrize(
    ("completion", "gold"),
    [
        ("উত্তর: ১৮", "18"), ("উত্তর: ১,২৩৪", "1234"), ("คำตอบคือ ๑๘", "18"), ("సమాధానం: ౧౮", "18"),
        ("उत्तर: १८", "18"), ("答案：１８", "18"), ("答案: １，２", "1, 2"), ("الجواب: ١٨", "18"),
        ("Die Antwort ist 1.000 Dollar.", "1000"), ("La respuesta es 3,5.", "3.5"),
        ("Die Antwort lautet 1.234,5.", "1234.5"), ("Ответ: 12 500", "12500"),
        ("Ответ: 0,25", "1/4"),
        ("La réponse est 1 234,5", "1234.5"), ("La réponse est 12 000 €.", "12000"),
        ("\\boxed{1.234.567}", "1234567"), ("\\boxed{1'234'567}", "1234567"),
        ("\\boxed{1,00,000}", "100000"), ("答案是5万。", "50000"), ("答案是3千克。", "3"),
        ("La respuesta es 5 millones.", "5000000"), ("Ответ: 5 тысяч", "5000"),
        ("答案是1、2和3。", "1, 2, 3"), ("答案是负 5", "-5"),
        ("答案是_5C_2", "10"), ("答案是3割5分2厘", "0.352"), ("\\boxed{1또는 2}", "1, 2"),
    ],
)  # fmt: skip
def test_digits_and_separators_are_those_of_the_language(completion, gold):
    assert verify(completion, gold).score == 1.0


@pytest.mark.parametrize(
    "completion",
    [
        "La respuesta es 5 o 6.", "Die Antwort ist 5 Dutzend.", "La respuesta es 5 docenas.",
        "Ответ: 5 тысяч", "答案是5万。", "答案是5或6。", "答案不是5。", "一共有5个吗？",
        "答案是5千。",
        "La respuesta no es 5.", "Die Antwort ist nicht 5.", "คำตอบคือ 5 แสน", "উত্তর: ৫ লক্ষ",
        "정답은 5만입니다.", "Jibu ni elfu 5.", "La réponse est 5 ou 6.", "答案是5以上。",
    ],
)  # fmt: skip
def test_what_changes_the_value_counts_in_every_language(completion):
    assert verify(completion, "5").score == 0.0


@pytest.mark.parametrize("claim", ["答案是", "答え: ", "因此，答案是：", "답은 "])
@pytest.mark.parametrize(
    "said",
    [
        "5 又三分之一", "5 三分之一", "5 -三", "5 减三", "5 乘三", "5 乘以三", "5 加三", "5 除三",
        "5 半", "5 割", "5 成", "5 折", "5 -三分之二", "5 分之二", "5 の三倍", "5 足す三",
        "5 빼기 삼", "5 분의 삼", "5 時間半", "5 的平方", "5 倍三", "5 不对", "5 以上",
        "5 choose x", "5! choose 2", "5! - 3",
        "5\n又3分之1", "5\n分之二",
        "5 个 半", "5 苹果 减三", "$5$ 半", "$5$ 又三分之一", "**5** 半",
    ],
)  # fmt: skip
def test_what_stands_behind_a_space_changes_the_value_too(claim, said):
    assert verify(claim + said, "5").score == 0.0


@pytest.mark.parametrize("said", ["负 5", "負 5", "マイナス 5", "正负 5", "小于 5", "减 5"])
def test_a_sign_before_a_space_is_kept(said):
    assert verify(f"答案是{said}", "5").score == 0.0


@pytest.mark.parametrize(
    "said",
    [
        "5 个", "5 苹果", "5 半径", "5 一共", "5 成员", "5 加仑", "5 乘客", "5 个半圆", "5 左右",
        "5 円です",
        "5 点です", "5 人 です", "りんご 5 個", "5 개의 사과", "5 개 입니다", "사과 5 개", "约 5",
        "5 三角形",
        "5! 完成。", "5\n又因为", "_5_",
        "$5$ 个", "$5$，不需要再算", "5 苹果，因为没有人来", "5 人没有来", "5 biscuits de plus",
    ],
)  # fmt: skip
def test_what_is_counted_may_stand_behind_a_space(said):
    assert verify(f"答案是{said}", "5").score == 1.0


@pytest.mark.parametrize("claim", ["The answer is ", "#### ", "Answer: "])
def test_a_factorial_within_a_formula_ends_no_sentence(claim):
    assert verify(f"{claim}5! choose 2", "5").score == 0.0
    assert verify(f"{claim}5! + 2", "122").score == 1.0
    assert verify(f"{claim}5! - as it should be", "5").score == 1.0


def test_a_point_between_groups_is_a_decimal_point_in_english():
    assert verify("The answer is 1.000.", "1000").score == 0.0
    assert verify("The answer is 1.000.", "1").score == 1.0
    assert verify("\\boxed{12,34,567}", "1234567").score == 0.0
