"""How a text says "the answer is", in English and in the languages whose benchmarks we read."""

from __future__ import annotations

import re

_LEAD = r"(?:\*{0,2}\s{0,3}[:：]|\s{0,3}=)"
# Words after which the value may stand at once; a Latin word needs a colon or a copula.
_UNSPACED = (
    r"答案(?:并|並)?不是[^。，,\n]{1,40}[，,]\s{0,3}而?是\s{0,3}"
    r"|(?:最终|最終|最后|正确|正確)?的?(?:答案|答え|解答|正解)\*{0,2}\s{0,3}"
    r"(?:应该是|应为|應為|是|为|為|は、?|[:：])\s{0,3}[:：]?"
    r"|【(?:答案|解答)】\s{0,3}"
    r"|(?:^|(?<=[\s。，,.*]))答\s{0,3}[:：]"
    r"|(?:최종\s?)?(?:정답|답)\*{0,2}(?:은|는|이|가)?\s{0,3}[:：]?(?=\s{0,3}[\\$0-9*(-])"
    r"|(?:চূড়ান্ত\s)?উত্তর(?:টি|টা)?\*{0,2}\s{0,3}(?:হল|হলো|হচ্ছে|হবে)?\s{0,3}[:：]?(?=[\s\\$0-9*০-৯])"
    r"|(?:अंतिम\s)?उत्तर\*{0,2}\s{0,3}(?:है)?\s{0,3}[:：]?(?=[\s\\$0-9*०-९])"
    r"|(?:సమాధానం|జవాబు)\*{0,2}\s{0,3}[:：]?(?=[\s\\$0-9*])"
    r"|คำตอบ(?:สุดท้าย|ที่ถูกต้อง)?\*{0,2}\s{0,3}(?:คือ|เป็น|เท่ากับ)?\s{0,3}[:：]?(?=[\s\\$0-9*๐-๙])"
    r"|(?:الإجابة|الجواب)\s{0,3}(?:النهائية|النهائي)?\s{0,3}(?:هي|هو|[:：])\s{0,3}[:：]?"
    r"|(?:окончательный\s)?(?:ответ|відповідь)\*{0,2}\s{0,3}(?:[:：—–-]|равен|равна|равно)"
)
_SPACED = {
    r"respuestas?(?:\s+(?:final|correcta))?": "es|son|sería",
    r"réponses?(?:\s+(?:finale|correcte))?": "est|sont",
    r"respostas?(?:\s+(?:final|correta))?": "é|são",
    r"antwort": "ist|lautet|beträgt",
    r"rispost[ae](?:\s+(?:finale|corretta))?": "è|sono",
    r"jibu(?:\s+(?:la\s+mwisho|sahihi))?": "ni",
    r"(?:ostateczna\s+)?odpowiedź": "to|jest|brzmi",
    r"antwoord": "is",
    r"cevap": "",
    r"jawaban(?:nya)?": "adalah",
    r"đáp\s(?:án|số)|câu\s+trả\s+lời": "là",
    r"odpověď": "je",
    r"svaret?": "är|er",
    r"απάντηση": "είναι",
}
_FOREIGN = "|".join(
    rf"(?<!\w)(?:{words})(?:{_LEAD}|\s{{1,3}}(?:{copulas})\b\s{{0,3}}[:：]?)"
    if copulas
    else rf"(?<!\w)(?:{words}){_LEAD}"
    for words, copulas in _SPACED.items()
)
FOREIGN = re.compile(f"{_UNSPACED}|{_FOREIGN}", re.IGNORECASE | re.MULTILINE)
# Of these, the phrases in whose language the comma is the decimal sign.
COMMA_DECIMAL = re.compile(
    r"\s*\*{0,2}(?:(?:la|le|les|die|der|a|o|il|окончательный)\s)?(?:respuesta|réponse|resposta|antwo|"
    r"rispost|odpow|odpov|cevap|jawab|đáp|câu|svar|απάν|ответ|відпов|окончат|ostatecz)",
    re.IGNORECASE,
)
EXPLICIT = re.compile(
    r"####"
    r"|answers?\*{0,2}(?:\s{1,3}(?:to|for|of)\s[^.\n:]{1,60})?"
    r"(?:\s{0,3}[:：]|\s{1,3}(?:is|are|will be|would be|should be|equals)\b"
    r"(?:\s(?:therefore|thus|then|simply|just|now|hence|clearly)\b)?\s{0,3}[:：]?|\s{0,3}=)"
    r"|(?:^|final\s)\W{0,6}answer\*{0,2}\s{0,3}(?=\\\[|\$|\\\()"
    r"|^\W{0,6}(?:final\s|the\s){0,2}(?:result|solution)\*{0,2}\s{0,3}[:：]"
    r"|(?:correct|right|best)\s{1,3}(?:option|choice)\s{1,3}is\b\s{0,3}:?"
    rf"|(?P<foreign>{FOREIGN.pattern})",
    re.IGNORECASE | re.MULTILINE,
)
STATING = re.compile(
    r"\b(?:is given by|is equal to|equals|equal to|is|are|was|were|be|gives?(?:\sus)?|yields?|gets?"
    r"|becomes?|has|have|costs?|makes?|earns?|obtains?|needs?|takes?|pays?|spends?|saves?"
    r"|(?:total|profit|loss|discount|revenue|salary) of"
    r"|that is|so|thus|therefore|hence"
    r"|es|son|hay|est|sont|fait|ist|sind|beträgt|ergibt|равно|равен|равна|составляет|ni)\b[\s:,]*"
    r"|(?:一共|总共|總共|共|合计|合計)?(?:还剩下|还剩|剩下|等于|等於|得到|需要|花费|花了|赚了|有|是|为|為|得)\s*"
    r"|(?:は|が|よって|だから|したがって|合計|총|모두|은|는)、?\s*",
    re.IGNORECASE,
)
NO_STATEMENT = re.compile(
    r"\?|？|\b(?:not|cannot|if|let|suppose|assume|find|given|when|need to|want|simplify|compute"
    r"|evaluate|determine|either|maybe|perhaps|possibly|might|could|si|wenn|если|пусть|nicht|pas|не|no\s(?:es|son|hay))\b"
    r"|n['’]t\b|不是|不等|不能|不会|并非|没有|沒有|吗|嗎|如果|设|若|可能|或许|ない|もし|만약|아니",
    re.IGNORECASE,
)
