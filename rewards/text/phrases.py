r"""What people write before and after the option they choose, in the languages of MMMLU and MGSM.

All patterns are for text around one key: those before it end at `\Z`, those after it are matched
where it ends. Every repetition is bounded.
"""

from __future__ import annotations

import re
import unicodedata


def _words(text: str) -> str:
    # The text they are looked for in is in NFKC, which takes some Thai vowels apart.
    words = unicodedata.normalize("NFKC", text).split(",")
    return "|".join(re.escape(word).replace(r"\ ", r"\s") for word in words)


# Nouns that name an answer. Where nothing but blanks separates them from a key, they state it.
_ANSWER = _words(
    "answer,ans,result,key,winner,vote,decision,solution,response,verdict,conclusion,guess,pick,"
    "selection,respuesta,solución,réponse,antwort,lösung,risposta,soluzione,resposta,solução,"
    "gabarito,ответ,ответом,відповідь,odpowiedź,odpověď,antwoord,svar,cevap,yanıt,jawaban,"
    "jawabannya,đáp án,câu trả lời,الإجابة,الاجابة,إجابة,الجواب,جواب,उत्तर,जवाब,উত্তর,jibu,"
    "ìdáhùn,idahun,సమాధానం,జవాబు,คำตอบ,απάντηση,תשובה,پاسخ"
)
# Nouns that name any option, chosen or not.
_OPTION = _words(
    "option,choice,letter,alternative,opción,letra,alternativa,choix,lettre,buchstabe,opzione,"
    "scelta,opção,вариант,вариантом,варіант,optie,pilihan,opsi,lựa chọn,phương án,الخيار,خيار,"
    "विकल्प,বিকল্প,chaguo,ตัวเลือก,ข้อ,seçenek,şık"
)
_GOOD = _words(
    "correct,right,best,proper,appropriate,accurate,true one,only one,correcta,correcto,correcte,"
    "richtig,richtige,korrekt,korrekte,corretta,corretto,correta,correto,certa,certo,juste,bonne,"
    "exacte,правильный,правильно,верный,верно,juist,juiste,benar,tepat,đúng"
)
_BE = _words(
    "is,was,be,'s,goes to,seems to be,appears to be,would seem to be,turns out to be,remains,"
    "becomes,es,es la,sería,será,debe ser,ist,wäre,lautet,muss,est,est la,serait,è,è la,sarebbe,é,"
    "é a,seria,под буквой,היא,הוא,είναι η,это,является,luidt,är,adalah,ialah,yaitu,"
    "là,هي,هو,है,হল,হলো,হচ্ছে,ni,คือ,είναι,to,jest,je"
)
_ADVERB = _words(
    "clearly,therefore,thus,hence,then,most likely,very likely,likely,probably,most probably,"
    "definitely,certainly,surely,simply,just,indeed,in fact,actually,obviously,of course,still,"
    "either,both,now,again,going to be,given by,given in,in,only,undoubtedly,presumably,really,"
    "the,la,el,die,der,le,il,o,a opção,clairement,claramente,probablement,probablemente,also,"
    "number,under,donc,l'option,l'opzione,la lettre,с,под буквой,option,choice,letter,answer,"
    "without a doubt,without doubt,without question,beyond doubt,beyond a doubt,no doubt,i believe,"
    "i think,in my opinion,in my view,option number,indicated by,labeled,labelled,marked,as follows"
)
_CHOOSE = _words(
    "choose,chose,choosing,pick,picked,picking,select,selected,selecting,go with,going with,"
    "went with,go for,going for,opt for,opting for,vote for,settle on,lean towards,lean toward,"
    "bet on,say,elijo,escojo,wähle,nehme,choisis,scelgo,escolho,marco,выбираю,chọn,pilih,memilih,"
    "kies,wybieram,seçiyorum"
)
_CORRECTION = (
    r"no|nope|wait|actually|sorry|correction|oops|hmm|i\smean|i\smeant|make\sthat|make\sit|scratch\sthat|"
    r"(?:just\s)?kidding|just\sjoking|psych|scrap\sthat|on\ssecond\sthought|on\sreflection|rather|but|however|instead|nein|sondern|sino|mais|aber|pero|нет|а|но"
)
_BELIEVE = (
    r"leaves|leaving|left\swith|looks\slike|think|believe|guess|suspect|points\sto|indicates|"
    r"corresponds\sto|matches|suggests|conclude|we\sget|obtain"
)
_SO = (
    r"so|thus|hence|therefore|then|finally|ergo|overall|clearly|definitely|yes|ok|okay|well|sure|"
    r"probably|likely|perhaps|maybe|luego|also|donc|quindi|portanto|следовательно|итак|因此|所以|故|"
    r"综上|よって|따라서"
)
_ITEM = "statement|sentence|one|item|claim|explanation|description|candidate"
_UNSPACED = _words("คำตอบ")
_CJK_ANSWER = "答案|结论|結論|正解|正答|解答|回答|答え|答|정답|답"
_CJK_BE = "应该|應該|應|应|就|只能|必为|是|为|為|选择|選擇|选|選|は|が|은|는|이|가|[:=】」』)\\]]"
_CJK_OPTION = "选项|選項|選択肢|선택지|보기|番号|字母"
_CJK_CHOOSE = "只有|仅有|唯有|选择|選擇|选|選"

_BRIDGE = rf"(?:[\s,:(]{{1,3}}(?:{_ADVERB}|{_OPTION})(?!\w)[,)]?){{0,4}}"
_OPEN = r"[\s\"'“”‘’(\[{<「『【《:=#~–—-]{0,8}"
_FILL = r"(?:,\s[^,.;:!?\n]{1,30},)?(?:\s{1,3}[^\s.,:;!?()]{1,24}){0,7}?"

STATED = re.compile(
    rf"""(?ix)
    (?:
      # "the answer to this question is most likely", "Correct option:", "Answer -"
      (?<![^\W_])(?:{_ANSWER}|{_OPTION}|{_GOOD})(?:\(s\))?[\s"'’\])]{{0,3}}
        (?:{_FILL}(?:\s{{1,3}}|(?='))(?:{_BE})(?!\w){_BRIDGE}
          |{_FILL}\s{{0,3}}(?:[:=→]|=>|->|[–—-]\s){_BRIDGE})
      | (?:{_UNSPACED})\S{{0,24}} | (?<!\w)ans\. | [\[<](?:{_ANSWER})[\]>]
      | \#\#\#\# | (?:^|[.!?;:,\n]\s{{0,3}})final\s?[:=]
      | (?:^|[.!?;:,\n]\s{{0,3}}|\b(?:i|me|we|you|let's|let\sus|so|therefore|thus|hence|then|and|
          ich|yo|je|must|should|would|will|'ll|'d|'m|have\sto|going\sto|rather|finally|saya|я|eu|io)
          \s{{1,3}})
        (?:{_CHOOSE})(?!\w){_BRIDGE}
      | (?:{_CJK_ANSWER})[\s】」』)\]]{{0,2}}(?:[\s、,]{{0,2}}(?:{_CJK_BE})){{0,4}}[、,]?
          \s{{0,2}}(?:{_CJK_OPTION})?
      | (?:{_CJK_CHOOSE})[\s:]{{0,2}}(?:{_CJK_OPTION})?
      | (?:正确|正確|正しい)(?:的)?(?:{_CJK_OPTION}|{_CJK_ANSWER}|もの|一项|一項)?
          (?:应该|应)?[是为為は:]
      | (?:最も)?適切な(?:の|もの)は | 最(?:合适|恰当|佳|可能)的(?:{_CJK_OPTION}|{_CJK_ANSWER})?是
    )
    {_OPEN}\Z"""
)
"""Before a key that is stated as the answer."""

NOUN = rf"(?i:(?:{_ANSWER}|{_OPTION})(?!\w)\s{{0,3}}|(?:{_CJK_OPTION}|{_CJK_ANSWER})\s{{0,3}})"
"""A noun before a key that is all there is."""

CORRECTED = re.compile(
    rf"""(?ix)
    (?:(?:^|[\s.…,;:!?–—(-])
(?:{_CORRECTION})
      |不对|不對|不[,、]|而是|いや|ではなく|じゃなく|아니라|아니)
    [\s,.:;!。、…–—-]{{0,5}}(?:{_CJK_ANSWER})?(?:{_CJK_BE}){{0,3}}
    (?:(?:no|wait|actually|sorry|i\smean|i\smeant|rather|instead)[\s,.:;!…–—-]{{1,5}}){{0,3}}
    (?:(?:it|that|this|this\sone|es|c|ce)?(?:'s|\sis|\smust\sbe|\sshould\sbe|\sist|'est|\sest)\s
       {{1,3}})?
    (?:(?:{_OPTION})\s{{1,3}})?{_BRIDGE}{_OPEN}\Z"""
)
"""Before a key that takes an earlier one's place: "no, C", "not A but C"."""

ALL_BUT = re.compile(r"(?i)\b(?:any|anything|every|everything|nothing|all|none|no\sone)\s*\Z")
"""Before a "but" that takes nothing's place."""

HINTED = re.compile(
    rf"""(?ix)
    (?:
      \b(?:it|this|that|which|that\sone)
        (?:'s|\sis|\smust\sbe|\swould\sbe|\sshould\sbe|\shas\sto\sbe|\scould\sbe){_BRIDGE}
      | \b(?:{_ITEM}){_FILL}\sis{_BRIDGE}
      | \b(?:{_BELIEVE}){_BRIDGE}
      | (?:^|[.!?;:,\n]\s{{0,3}})(?:(?:must|has\sto|should|would|could)\sbe|è|é|es){_BRIDGE}
      | (?:=>|->|→|⇒|∴|\\(?:therefore|Rightarrow|implies))
      | \b(?:c'est|es\sist|это|esto\ses|es\sla|das\sist)\s{{0,2}}(?:la|le|die)?
      | (?:^|[.!?;:,\n]\s{{0,3}})(?:and\s)?
(?:{_SO})[\s,:–—-]{{1,4}}{_BRIDGE}
      | (?<!\w)(?:{_ANSWER})
    )
    {_OPEN}\Z"""
)
"""Before a key that is the answer where nothing is stated outright: "so B", "I think it's B"."""


def _tokens(*patterns: str) -> frozenset[str]:
    return frozenset(re.findall(r"[^\W\d_]+", " ".join(patterns).replace("\\s", " ")))


_LAST = _tokens(_ANSWER, _OPTION, _GOOD, _BE, _ADVERB, _CHOOSE, _CORRECTION, _BELIEVE, _SO) - {"a"}
_NEEDED = {
    STATED: _tokens(_ANSWER, _OPTION, _GOOD, _CHOOSE, "final"),
    CORRECTED: _tokens(_CORRECTION),
    HINTED: _tokens(_ANSWER, _ITEM, _BELIEVE, _SO, "it this that which must has should would es c"),
}


def find_lead(left: str) -> re.Match[str] | None:
    """The lead that `left` ends in: `STATED`, else `CORRECTED`, else `HINTED`.

    In ASCII the words are looked up first: the expressions are slow where they find nothing.
    """
    needed = list(_NEEDED)
    if left.isascii() and not re.search(r"[#>\\]", left):
        words = re.findall(r"[a-z]+", left.lower())
        bare = left.rstrip(" \n\t\"'([{<.,;!~")
        if not bare.endswith((":", "=", "-")) and (not words or words[-1] not in _LAST):
            return None
        needed = [lead for lead, triggers in _NEEDED.items() if not triggers.isdisjoint(words)]
    return next(filter(None, (lead.search(left) for lead in needed)), None)


ENDS = re.compile(r"[ ]{0,3}(?:[^\w\s(\[]|\n|\Z|(?:because|since)\b|[^\x00-\x7f])")
"""After a key with which a clause ends."""

AFFIRMED = re.compile(
    r"(?i)\b(?:(?:no|without(?:\sa|\sany)?)\s(?:doubt|question)|"
    r"not\s(?:difficult|hard|surprising|surprisingly|only|just|merely)|"
    r"no\s(?:other|wonder|matter)|without\sloss)\b"
)
"""Negations that deny nothing of a key."""

NEGATED = re.compile(
    r"(?i)\b(?:not|no\sway|never|neither|nor|cannot|can't|hardly|unlikely|doubt|deny|except|excluding|"
    r"avoid|than|instead\sof|without|rule\sout|eliminate|exclude|reject|nicht|kein|keine|weder|"
    r"pas|jamais|non|no\ses|no\sé|não|нет|не|bukan|tidak|không|phải\skhông)\b|n['’]t\b|"
    r"不|非|并非|別|别|没|沒|ではな|でない|아닌|아니|ليست|ليس|नहीं"
)
DENIED = re.compile(rf"(?i)(?:{NEGATED.pattern.removeprefix('(?i)')})\W*\Z")
CONDITION = re.compile(
    r"(?i)\b(?:if|whether|unless|suppose|supposing|assume|assuming|imagine|were|falls|wenn|ob|si|"
    r"se|если)\b|如果|假设|若|もし"
)
"""In the clause before a key: what is said of it does not hold, or is not said to hold."""

CLAUSE = re.compile(
    r"(?i)[.!?;:,\n…]|\b(?:but|so|then|however|therefore|thus|hence|sondern|sino|mais|aber|pero|"
    r"но)\b|而是|所以|因此|ではなく|아니라"
)

_TAIL_BE = (
    r"(?:is|was|are|were|'s|seems|looks|appears|must\sbe|has\sto\sbe|would\sbe|should\sbe|will\sbe|"
    r"can\sbe|could\sbe|cannot\sbe|can't\sbe|isn't|aren't|wasn't|ist|sind|est|sont|es|son|è|é|"
    r"adalah|là|является|not|never)"
)
_TAIL_FILL = (
    r"(?:\s{1,3}(?:the|my|our|your|a|an|only|one|most|clearly|definitely|indeed|obviously|also|"
    r"therefore|both|all|la|le|el|die|der|das|il|to|be|as|that|likely|probably|single|true))"
)
_BAD = (
    r"wrong|incorrect|false|untrue|invalid|mistaken|falsch|faux|fausse|incorrecte|incorrecta|"
    r"incorrecto|sbagliata|errata|errada|incorreta|неверн\w*|неправильн\w*|salah|sai"
)
DOUBTED = re.compile(rf"(?i)\?|\b(?:{_BAD})\b")
"""In the text of an option: it is asked, or said to be wrong."""

_RIGHT = re.compile(
    rf"""(?ix)
    \s{{0,3}}(?:
      (?:{_TAIL_BE}{_TAIL_FILL}{{0,4}}|[–—-])\s{{1,3}}(?:{_GOOD}|{_ANSWER}|choice|option)(?!\w)
      | (?:项|項|选项|選項|番)?\s?(?:是|为|為|才是|が|は|가|이|은|는|번이)?\s?(?:唯一)?
        (?:对|對|正确|正確|正し|正解|正答|答案|答え|정답|맞|옳)
      | it\sis\b | is(?=\s{{0,3}}(?:[.;!]|\Z)) | を[選选]
      | [\s:(–—-]{{1,4}}(?:{_GOOD})(?=\s*(?:[.,;!)\n]|\Z|because|since))
      | \b(?:सही|সঠিক)
    )"""
)
_WRONG = re.compile(
    rf"""(?ix)
    \s{{0,3}}(?:
      {_TAIL_BE}{_TAIL_FILL}{{0,3}}\s{{1,3}}(?:{_TAIL_FILL}{{0,2}}\s{{0,3}})
        (?:{_BAD}|impossible|excluded|eliminated|ruled\sout|out|not|never|nicht|pas|no|bukan|
           unlikely)\b
      | [\s:(–—-]{{1,4}}(?:{_BAD})\b
      | (?:isn't|aren't|wasn't|cannot|can't|doesn't|don't|won't|fails|contradicts)\b
      | no\ses\b|n'est\spas\b|non\sè\b|não\sé\b
      | (?:项|項|选项|選項)?\s?(?:是|は|が|가|이|은|는|并|並)?\s?
        (?:错|錯|不|误|誤|非|間違|ではな|じゃな|아니|틀|오답)
    )"""
)
_TAIL_WORDS = _tokens(
    _TAIL_BE, _BAD, _GOOD, "it can isn aren wasn doesn don won fails contradicts no non n"
)


def judged(right: str) -> bool | None:
    """Whether the key before `right` is said to be right, or wrong; `None` if neither."""
    first = re.match(r"\s{0,3}([a-z]+|[^a-z]?)", right.lower())
    word = first[1] if first else ""
    if word.isascii() and word not in _TAIL_WORDS and word not in ("'", ":", "(", "-"):
        return None  # the expressions below are slow where they find nothing
    return False if _WRONG.match(right) else True if _RIGHT.match(right) else None
