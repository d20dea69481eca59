"""What people write around the option they choose, in every language of MMMLU: a careful reader
of each line says B, or says that B is not chosen."""

import json

import pytest

from rewards import VerdictKind
from rewards.text.choice import verify_choice

CHOSEN = r"""
Answer: B) no
Answer: (B) dog
The answer is B) the mitochondrion
Final: B
I'm torn between A and C; final: B
Answer: A. Just kidding, B.
Answer: A. Scrap that, it is B
Answer: B
The answer is B
The answer to this question is (B).
The correct answer to question 5 is therefore **B**.
I'll go with B.
I would choose option B.
I'd say B.
Going with B.
So I pick B.
My answer: B
My final answer is B.
The best choice would be B.
The best option here is B.
The right one is B.
So the correct option must be B.
Thus, B.
Therefore, B
Hence the answer: B
So, (B)
It must be B.
That leaves B.
This means B is correct.
B... no, C. No wait, B.
A... no, B
A. No, wait, B.
A? No, B.
Hmm, A... actually, B.
The answer is A. Wait, no. The answer is B.
The answer is A. Actually, it's B.
I first thought the answer is A, but it is B.
not A but B
It's not A, it's B.
It is not A but rather B.
The answer is not A or C but B.
Neither A nor C. The answer is B.
A is wrong, C is wrong, D is wrong. So B.
A is incorrect because of x. B is correct because of y. C is incorrect.
Option A is incorrect. Option B is correct. Option C is incorrect. Option D is incorrect.
B is correct; A, C and D are not correct.
B. Because the sky is blue.
B because the sky is blue.
B, because the sky is blue
B
B)
[B]
{B}
"B"
Option B
option b
Choice B.
The answer is option (b).
the answer is b
The answer is: B) Paris
The answer is B: Paris
The answer is B – Paris
The answer is B, Paris.
The answer is B. Paris is the capital.
B) Paris\n\nParis is the capital of France.
B\n\nExplanation: Paris is the capital.
**B**\n\nExplanation: A is wrong since it is far.
(B) Paris
**Answer:** B
**Answer: B**
*Answer*: `B`
Answer: \\text{B}
Answer: $\\textbf{(B)}$
\\\\boxed{B}
$$\\boxed{\\text{B}}$$
\\boxed{\\textbf{(B)}\\ 4}
\\boxed{Option B}
<answer>(B)</answer>
<answer>The answer is B.</answer>
{"reasoning": "A is near, but...", "answer": "B"}
{"answer":"B","confidence":0.9}
{'choice': 'B'}
```json\n{"final_answer": "B"}\n```
#### B
### Answer: B
## Final Answer\nB
Final Answer\n\nB
Correct Answer: B
Selected option: B
答案：B
答案:B
答案是（B）
答案是 B。
正确答案是B。
正确答案：B
正确选项为B
因此答案为B
所以选B
综上所述，应该选择B
本题选B。
本题答案选B
故答案为：B
故选B。
故选（B）．
选择B选项
我选择B
选项B是正确的
选项B正确
B选项正确
B项正确，A项错误
答：B
A不正确，B正确。
A项错误，C项错误，D项错误。故选B。
不是A而是B
答案不是A，而是B。
【答案】Ｂ
正確答案是B
選B
正解：B
正解はＢ
答えはBです。
答えは「B」です
解答: B
Bが正解です。
AではなくBです。
選択肢Bが正しい
정답: B
정답은 B입니다.
답: B
답은 (B)입니다.
B가 정답입니다.
A가 아니라 B입니다.
La respuesta correcta es B.
La respuesta correcta es la B.
Respuesta: B
La opción correcta es la B.
La opción B es la correcta.
Elijo B.
Die Antwort ist B.
Antwort: B
Die richtige Antwort lautet: B
Antwort B ist richtig.
Die Lösung ist B.
Nicht A, sondern B.
Ich wähle B.
La réponse est B.
La bonne réponse est la B.
La réponse correcte est (B).
Réponse : B
La bonne option est B.
L'option B est correcte.
Je choisis B.
La risposta corretta è B.
La risposta è la B.
Risposta: B
A resposta correta é B.
A resposta é a B.
A alternativa correta é a letra B.
Alternativa correta: B
Gabarito: B
Letra B
Правильный ответ: B
Правильный ответ — B.
Ответ B
Верный вариант: B
Правильный ответ - это B.
الإجابة الصحيحة هي B
الإجابة الصحيحة: (B)
الجواب: B
Đáp án đúng là B.
Đáp án là B
Câu trả lời đúng là B.
Chọn B.
Jawaban: B
Jawaban yang benar adalah B.
Jawabannya adalah B
सही उत्तर B है।
उत्तर: B
सही विकल्प है B
সঠিক উত্তর: B
উত্তর হল B
Jibu: B
Jibu sahihi ni B.
คำตอบ: B
คำตอบคือ B
คำตอบที่ถูกต้องคือ B
సమాధానం: B
Antwoord: B
Het juiste antwoord is B.
Cevap: B
Doğru cevap: B
Odpowiedź: B
Poprawna odpowiedź to B.
Svar: B
Ìdáhùn: B
B</s>
B<|eot_id|>
The answer is B<|im_end|>
<|start_header_id|>assistant<|end_header_id|>\n\nB
Ａnswer：Ｂ
The answer is Ⓑ
（Ｂ）
B．
If x is 3 then y is 4. So the answer is B.
If A were right, the sky would be green. So B is right.
Is the answer A? No. The answer is B.
Could it be A? No, it is B.
The answer isn't A, C, or D. It is B.
We can eliminate A and C. D is impossible. That leaves only B.
Between A and B, I'd go with B.
The answer is B, since A is wrong.
The answer is B (not A).
The answer is B, whereas A is a distractor.
The answer is B instead of A.
The answer is indeed B.
B is the answer
B is my answer.
B would be the best choice.
B seems correct.
B it is.
Definitely B.
Probably B.
I think B.
I believe the answer is B.
I believe it's B
My guess is B.
Looks like B.
The statement that matches is B.
The only option that works is B.
The correct one: B
Answer is B
Ans: B
Ans. B
Answer = B
Answer -> B
Answer → B
=> B
The answer's B.
I am confident that the answer is B.
I'm fairly sure it's B.
Final answer is option (B).
Final choice: B
Option B seems to be the best answer.
Option (B) it is.
Therefore, option B is the right answer.
The correct statement is B.
The correct answer would therefore be B.
We get B.
We conclude that B is correct.
This corresponds to option B.
This matches option B.
which is option B
This is option (B).
so the answer must be choice B
So B is our answer.
so the correct choice is (b)
So I'd go for B
I'd lean towards B.
I'll choose B, because it is the largest.
I'm choosing B.
Let's go with B.
Let me go with B.
My pick is B.
The only correct answer is B.
The most appropriate answer is B.
The most likely answer is B.
The best answer from the options is B.
The answer that best fits is B.
Among the options, B is the best.
Of these, B is correct.
Only B is correct.
Only option B works, so B.
Out of all the options, the correct one is B.
**Answer**: Option B
**Final Answer: (B)**
Final answer → B
[Answer] B
[ANSWER]: B
<final_answer>B</final_answer>
<answer> B </answer>
<answer>\boxed{B}</answer>
answer = B
"answer": "B"
{"answer": ["B"]}
{"answer": "(B)"}
{"answer": "B. 4"}
{"choice":"B"}
{"letter": "B"}
ANSWER: (B)
Answer is: B
Answer is - B
Answer(s): B
Answer: Option B.
Answer: The correct option is B.
Answer: [B]
Answer: <B>
Answer: "B"
Answer: 'B'
Answer: B (4)
Answer: B (the sun)
Answer: B because it rises.
Answer: B, the sun
Answer: B - the sun
Answer: B/the sun
(B) 4
(b) 4
b) 4
B : 4
B; 4
B!
"B."
B。
选 B
选（B）
选择 B。
我选B。
答案應該是B
正确答案应该是B选项
最终答案：B
最后答案是B
结论：B
因此选择B。
所以，答案是B
故正确答案为B
因此正确选项是 **B**
B 是正确的
B是对的
B是正确选项
只有B正确
只有B符合题意
A、C、D均错误，故选B
最佳答案是B
正确答案：选项B
正しい答えは「B」です。
正解は、Bです。
正解はB: 太陽
最も適切なのはBです。
答えは B
よって正解は B
정답은 (B)
정답은 B 입니다
답은 B이다.
답: (B)
정답: B.
따라서 답은 B이다.
La respuesta es la opción B.
La respuesta correcta es: B
Por lo tanto, la respuesta es B.
Por tanto, la opción correcta es B.
La correcta es la B.
Opción correcta: B
Die Antwort lautet B.
Also ist B richtig.
Daher ist die richtige Antwort B.
Richtig ist B.
Lösung: B
Option B ist korrekt.
La réponse est donc B.
Donc la réponse est B.
Donc, B.
La bonne réponse est l'option B.
La bonne réponse est : B
Il s'agit de la réponse B.
Réponse B
Quindi la risposta è B.
La risposta esatta è la B.
La risposta corretta è l'opzione B.
Opzione B
Portanto, a resposta é B.
A resposta correta é a letra B.
A opção correta é B.
Alternativa B
Следовательно, ответ B.
Ответ: вариант B
Верный ответ — B
Правильный ответ под буквой B
إذن الإجابة هي B
الإجابة: (B)
الخيار الصحيح هو B
Vậy đáp án là B.
Đáp án đúng: B
Chọn đáp án B
Jadi, jawabannya adalah B.
Jawaban yang tepat adalah B
अतः सही उत्तर B है
सही उत्तर (B) है
সুতরাং, সঠিক উত্তর B
Kwa hivyo, jibu ni B
ดังนั้นคำตอบคือ B
Dus het antwoord is B.
Doğru cevap B şıkkıdır.
Rätt svar är B.
Prawidłowa odpowiedź: B
Správná odpověď je B.
Η σωστή απάντηση είναι η B.
A? Wrong. B? Right. So B.
A. No wait. B
A - no, B
A, no B
A... hmm, no. B.
Initially A, but on reflection B.
I said A, but it should be B.
My first instinct was A, but the answer is B.
The answer is A. Sorry, I meant B.
The answer is A... scratch that, B.
Answer: A. Correction: Answer: B
It isn't C; it's B.
A is not right, so B.
A and C can be ruled out, so the answer is B.
A is tempting, but B is correct.
While A looks plausible, B is the best answer.
Though C is close, I'd pick B.
B > C, so B is best
The answer is, without a doubt, B.
The answer, I believe, is B.
The answer is (in my opinion) B.
B, without a doubt.
The answer is B: both A and C are true.
The answer is B (A and C).
\boxed{B: A is false}
Answer: B and not C
""".strip().split("\n")

NOT_CHOSEN = r"""
B is wrong.
B is incorrect
B is not correct.
B isn't right.
Not B.
not B
It's not B.
It isn't B.
The answer is not B.
The answer cannot be B.
The answer can't be B
I don't think the answer is B.
There is no way it is B.
There is no way that the answer is B.
I would not choose B.
I'd never pick B.
Anything but B
All except B
We can rule out B.
Eliminate B.
B can be eliminated.
B cannot be right.
The answer is A, not B.
The answer is A rather than B.
A, not B
A... no wait, B? No, A.
B... no, C
B. No, C.
B? No, C.
The answer is B. Wait, no. The answer is C.
The answer is B. No, it's C.
I first thought B, but it is C.
not B but C
不选B
答案不是B
不是B
B不正确
B是错误的
B错误
选项B不对
不是B而是C
答案是C，不是B
Bではない
BではなくCです
B가 아닙니다
B가 아니라 C입니다
La respuesta no es B.
La réponse n'est pas B.
Die Antwort ist nicht B.
Nicht B, sondern C.
B ist falsch.
La risposta non è B.
A resposta não é B.
Ответ не B.
B — неверно.
Neither A nor B
neither B nor C
The answer is A or B
The answer is both A and B
B and C
A, B
A/B
A & B
AB
Answer: A and B
A and B are correct.
Either B or C is correct.
It is either B or C.
答案是A或B
A\nB\nC\nD
A. cat\nB. dog\nC. cow\nD. pig
Option A: cat\nOption B: dog
If the answer is B, we get a contradiction.
Whether B is correct is unclear.
Is it B?
Is the answer B?
The answer is unclear.
I don't know.
None of the above
All of the above
B vitamins are healthy.
Because B follows A.
Vitamin B
Plan B
The answer is Big.
Let B be the point.
B = 3
The answer is B = 3
The answer is B's brother.
The answer is A. B is just a distractor.
The answer is C. B is close.
Answer: C (B is wrong)
The answer is C because B is too small.
\\boxed{C} since B is wrong
C\n\nB is wrong because it is small.
C. B is too small.
<think>The answer is B.</think>
<think>The answer is B.</think> I am not sure.
Answer: none
B-cells
The answer is B-cells
B is not the answer.
B is not the right choice.
B is false.
B cannot be correct.
B can't be right.
B doesn't work.
B is out.
B is too small.
B is ruled out.
Rule out B.
not option B
Definitely not B.
Certainly not B.
It can't be B.
The answer must not be B.
The answer is certainly not B.
The correct answer is not B.
The answer is anything but B.
The answer is not (B).
The answer isn't B.
I do not choose B.
I won't pick B.
I reject B.
I doubt it is B.
It is unlikely to be B.
Instead of B, C.
Rather than B, I choose C.
C rather than B
C, not B
C instead of B.
C (not B)
C. B is wrong.
C, since B is false
The answer is C; B is incorrect.
The answer is C, because B and D are wrong.
B is wrong, C is right.
B... wait, C
B. Actually, C.
B, no, C
B; no, it's C.
Answer: B. Wait, C.
Answer: B\nActually, the answer is C.
The answer is B? No, C.
\boxed{B} ... wait, \boxed{C}
B or C
B/C
B, C
B & C
both B and C
B and/or C
BC
A, B, C
Answer: B or C
Answer: B, C
Answer: B and C
{"answer": "B, C"}
{"answer": ["B", "C"]}
All of A, B, C
None
N/A
I cannot answer.
The options are A, B, C, D.
Options: A) cat B) dog C) cow
Which is correct, A or B?
Choose A, B, C or D.
Please select B or C.
A student chose B.
Some people say B.
Point B lies on the line.
Let A and B be sets.
The matrix B is singular.
Hepatitis B
Group B is larger.
Plan B failed.
A, B are points; so AB = 3.
f(B) = 2
B = {1,2}
\boxed{AB}
\boxed{B = 3}
\boxed{B+1}
\boxed{A \text{ or } B}
If B, then C.
Assume the answer is B.
Suppose B is correct.
Why is B correct?
B?
Is B right?
答案不可能是B
答案并非B
B不是答案
B不对
B项错误
排除B
B和C
B或C
正解はBではない
Bは間違いです
Bは不正解
정답은 B가 아니다
B는 틀렸다
La opción B es incorrecta.
B no es correcta.
No es B.
Die Antwort B ist falsch.
Nicht B.
Es ist nicht B.
Ce n'est pas B.
La réponse B est fausse.
Non è B.
B non è corretta.
Não é B.
B está errada.
Ответ не B
Не B
Вариант B неверный.
\boxed{B, C}
\boxed{B; C}
\boxed{B. C.}
\boxed{B) C)}
\boxed{(B), (C)}
\boxed{\text{B, C}}
\boxed{B + C}
B. C. D.
(B) (C)
B; C
Answer: B) C)
Answer: B; C
Answer: B C
Answer: B + C
Answer: B, or maybe C
Answer: B or possibly C
Answer: B (or C)
Answer: B\nC\nD
<answer>B. C.</answer>
""".strip().split("\n")

FORMS = [
    ("B 4", "B", 1, None),
    ("B, 4", "B", 1, None),
    ("Option B: 4", "B", 1, None),
    ("Option (B) 4", "B", 1, None),
    ("B → 4", "B", 1, None),
    ("Result: B", "B", 1, None),
    ("Key: B", "B", 1, None),
    ("The answer should be B", "B", 1, None),
    ("The answer is likely B.", "B", 1, None),
    ("The answer is [B].", "B", 1, None),
    ("####B", "B", 1, None),
    ("B<eos>", "B", 1, None),
    ("𝐁", "B", 1, None),
    ("The answer is 𝑩.", "B", 1, None),
    ("I think the question is hard", "I", 0, "ABCDEFGHIJ"),
    ("I would go with C", "I", 0, "ABCDEFGHIJ"),
    ("So I must be careful.", "I", 0, "ABCDEFGHIJ"),
    ("I choose C.", "C", 1, "ABCDEFGHIJ"),
    ("I.", "I", 1, "ABCDEFGHIJ"),
    ("(I)", "I", 1, "ABCDEFGHIJ"),
    ("The answer is I.", "I", 1, "ABCDEFGHIJ"),
    ("Answer: I", "I", 1, "ABCDEFGHIJ"),
    ("I believe the answer is (I)", "I", 1, "ABCDEFGHIJ"),
    ("I am not sure.", "I", 0, "ABCDEFGHIJ"),
    ("Therefore, I conclude J.", "J", 1, "ABCDEFGHIJ"),
    ("Thus I is correct.", "I", 1, "ABCDEFGHIJ"),
    ("3", "3", 1, None),
    ("(3)", "3", 1, None),
    ("Option 3", "3", 1, None),
    ("3. foo", "3", 1, None),
    ("3) foo", "3", 1, None),
    ("The answer is option 3.", "3", 1, None),
    ("Answer: 10:30", "10", 0, None),
    ("Answer: -3", "3", 0, None),
    ("The answer is 3 or 4.", "3", 0, None),
    ("答案是3", "3", 1, None),
    ("Answer: 30", "3", 0, None),
    ("The answer is B", "(B)", 1, None),
    ("The answer is B", "B.", 1, None),
    ("The answer is B", "b", 1, None),
    ("The answer is B", "Option B", 1, None),
    ("The answer is B", "B. photosynthesis", 1, None),
    ("The answer is B", "Ｂ", 1, None),
    ("The answer is B", "\\boxed{B}", 1, None),
    ("The answer is B", "**B**", 1, None),
    ("B", "The answer is B", 1, None),
    ("The answer is B", "选项B", 1, None),
    ("A is a good start, but the answer is B", "B", 1, None),
    ("A cat sat on the mat.", "A", 0, None),
    ("A good idea", "A", 0, None),
    ("A", "A", 1, None),
    ("The answer is a.", "A", 1, None),
    ("It is a cat", "A", 0, None),
    ("I was torn between B and C, but I'll go with B.", "B", 1, None),
    ("At first I thought A. But B is correct.", "B", 1, None),
    ("The correct answer is not listed.", "B", 0, None),
    ("Option A says x. Option B says y. Option C says z.", "C", 0, None),
    ("Let's evaluate:\nA) wrong because x\nB) correct because y\nC) wrong\nD) wrong", "B", 1, None),
    ("A: incorrect\nB: correct\nC: incorrect", "B", 1, None),
    ("(A) False\n(B) True\n(C) False\n\nSo the answer is (B).", "B", 1, None),
    (
        "Answer: B\n\nExplanation: Option A is wrong because it is smaller, option C is larger.",
        "B",
        1,
        None,
    ),
    ("Answer: B\nWhy not A? Because A is too small.", "B", 1, None),
    ("The answer is B. The other options (A, C, D) are incorrect.", "B", 1, None),
    ("The answer is (B). This is because A and C are both even.", "B", 1, None),
    ("The answer is (B) since A is a subset of C.", "B", 1, None),
    ("Thus, the final answer is $\\boxed{\\text{B}}$.", "B", 1, None),
    ("The answer is **B. Paris**.", "B", 1, None),
    ("Answer: **(B) Paris**", "B", 1, None),
    ("The correct answer is:\n\n**B. Paris**", "B", 1, None),
    ("**Correct answer: B**\n\n**Explanation:** ...", "B", 1, None),
    ("Therefore, the correct option is:\n\nB", "B", 1, None),
    ('So the correct answer is B: "the sun".', "B", 1, None),
    ("I'm going with B", "B", 1, None),
    ("I'd choose (b).", "B", 1, None),
    ("We choose B as our answer.", "B", 1, None),
    ("You should pick B.", "B", 1, None),
    ("My vote goes to B.", "B", 1, None),
    ("The winner is B.", "B", 1, None),
    ("B and not C", "B", 1, None),
    ("B rather than C", "B", 1, None),
    ("B, not C.", "B", 1, None),
    ("C, no B", "B", 1, None),
    ("C — wait, B", "B", 1, None),
    ("C, sorry, B", "B", 1, None),
    ("C. Correction: B", "B", 1, None),
    ("Answer: C. Hmm, on second thought, B.", "B", 1, None),
    ("Answer: C\nWait, that's wrong.\nAnswer: B", "B", 1, None),
    ("Answer: C... actually no, the answer is B", "B", 1, None),
    ("\\boxed{C}. Wait, I made a mistake. The answer is \\boxed{B}", "B", 1, None),
    ("\\boxed{C} no, B", "B", 1, None),
    ("答案：C。不对，应该是B。", "B", 1, None),
    ("答案是C，不，是B", "B", 1, None),
    ("选C...不，选B", "B", 1, None),
    ("The answer is E.", "E", 1, "ABCDE"),
    ("The answer is F.", "E", 0, None),
    ("Answer: answer2", "answer2", 1, None),
    ("answer 2", "answer2", 1, None),
    ("The answer is Answer 2.", "answer2", 1, None),
    ("not answer1 but answer2", "answer2", 1, None),
    ("answer1 is wrong, answer2 is right", "answer2", 1, None),
    ("ending 3", "ending3", 1, None),
    ("The correct answer is solution1", "solution1", 1, None),
    ("solution2", "solution2", 1, None),
    ("option1", "option1", 1, None),
    ("The answer is option2.", "option2", 1, None),
    ("The answer is B\u200b", "B", 1, None),
    ("Answer:\xa0B", "B", 1, None),
    ("Answer:\tB", "B", 1, None),
    ("ANSWER: B", "B", 1, None),
    ("THE ANSWER IS B", "B", 1, None),
    ("ANSWER IS B", "B", 1, None),
    ("Answer: B.", "B", 1, None),
    ("Answer:B.", "B", 1, None),
    ("Answer: B)", "B", 1, None),
    ("Answer: (B", "B", 1, None),
    ("<option>B</option>", "B", 1, None),
    ("<choice>B</choice>", "B", 1, None),
    ("<final>B</final>", "B", 1, None),
    ("<b>B</b>", "B", 1, None),
    ("[[B]]", "B", 1, None),
    ("Final verdict: [[B]]", "B", 1, None),
    ("The answer is \\(B\\).", "B", 1, None),
    ("\\[\\boxed{B}\\]", "B", 1, None),
    ("The answer is \\textbf{B}.", "B", 1, None),
    ("\\boxed{\\text{B) 4}}", "B", 1, None),
    ("\\boxed{B: 4}", "B", 1, None),
    ("\\boxed{\\text{Option B}}", "B", 1, None),
    ("\\boxed{\\text{The answer is B}}", "B", 1, None),
    ("\\boxed{答案B}", "B", 1, None),
    ("choose B over A", "B", 1, None),
    ("Select B", "B", 1, None),
    ("The correct answer is choice B", "B", 1, None),
    ("B is the correct option", "B", 1, None),
    ("The right answer's B", "B", 1, None),
    ("It's (B)", "B", 1, None),
    ("That's B.", "B", 1, None),
    ("It has to be B", "B", 1, None),
    ("Must be B", "B", 1, None),
    ("C is not the answer; B is.", "B", 1, None),
    ("Not A, not C, so B.", "B", 1, None),
    ("Not A. It's B", "B", 1, None),
    ("The answer is neither A nor C, but B", "B", 1, None),
    ("All options except B are wrong, so B", "B", 1, None),
    ("Everything but B is wrong. Answer: B", "B", 1, None),
    ("I cannot rule out B, so the answer is B.", "B", 1, None),
    ("There is no doubt that the answer is B.", "B", 1, None),
    ("The answer can only be B.", "B", 1, None),
    ("No other option fits, so the answer is B.", "B", 1, None),
    ("It is not difficult to see that the answer is B.", "B", 1, None),
    ("Not surprisingly, the answer is B.", "B", 1, None),
    ("Without loss of generality, the answer is B", "B", 1, None),
    ("Respuesta correcta: (B) 4", "B", 1, None),
    ("Opción B", "B", 1, None),
    ("Antwort B", "B", 1, None),
    ("Die korrekte Option ist B", "B", 1, None),
    ("C'est la réponse B.", "B", 1, None),
    ("Je pense que c'est B.", "B", 1, None),
    ("Es la B.", "B", 1, None),
    ("Es ist B.", "B", 1, None),
    ("Правильный ответ: вариант B", "B", 1, None),
    ("Правильным ответом является B", "B", 1, None),
    ("Правильный вариант ответа — B", "B", 1, None),
    ("Ответ: (B)", "B", 1, None),
    ("Ответом является вариант B.", "B", 1, None),
    ("정답은 B", "B", 1, None),
    ("정답은 B번", "B", 1, None),
    ("따라서 정답은 (B)입니다.", "B", 1, None),
    ("선택지 B가 정답입니다.", "B", 1, None),
    ("正解は(B)です。", "B", 1, None),
    ("したがって、正解はBである。", "B", 1, None),
    ("よって、答えはB。", "B", 1, None),
    ("Bを選びます。", "B", 1, None),
    ("Bが正しいです。", "B", 1, None),
    ("正しい答えはBです", "B", 1, None),
    ("正しい選択肢はBです", "B", 1, None),
    ("回答：B", "B", 1, None),
    ("我认为答案是B", "B", 1, None),
    ("答案应为B", "B", 1, None),
    ("所以正确答案是 B 选项。", "B", 1, None),
    ("正确的选项是B", "B", 1, None),
    ("正确的是B", "B", 1, None),
    ("因此，B是正确答案。", "B", 1, None),
    ("B对", "B", 1, None),
    ("答案选择B", "B", 1, None),
    ("应该选B", "B", 1, None),
    ("本题正确答案为B项", "B", 1, None),
    ("选项B", "B", 1, None),
    ("B选项", "B", 1, None),
    ("答案：（B）", "B", 1, None),
    ("答案：B、C", "B", 0, None),
    ("答案：BC", "B", 0, None),
    ("A错，B对", "B", 1, None),
    ("答案为：选项B。", "B", 1, None),
]


def unescape(line):
    return line if "boxed" in line else line.replace("\\n", "\n")


@pytest.mark.parametrize("line", CHOSEN)
def test_a_choice_is_read_as_a_careful_reader_does(line):
    assert verify_choice(unescape(line), "B").score == 1.0


@pytest.mark.parametrize("line", NOT_CHOSEN)
def test_a_key_that_is_not_chosen_is_not_rewarded(line):
    assert verify_choice(unescape(line), "B").score == 0.0


@pytest.mark.parametrize(("completion", "gold", "score", "letters"), FORMS)
def test_every_form_of_key_and_gold_answer_is_read_alike(completion, gold, score, letters):
    assert verify_choice(completion, gold, letters=letters).score == score


@pytest.mark.parametrize("line", CHOSEN)
def test_what_is_right_for_one_key_is_right_for_no_other(line):
    assert all(verify_choice(unescape(line), key).score == 0.0 for key in "ACD")


@pytest.mark.parametrize("gold", ["(B)", "B.", "Option B", "选项B", "Ｂ", "**B**", "B. the sun"])
def test_gold_answers_are_read_as_completions_are(gold):
    assert verify_choice("The answer is B", gold).score == 1.0
    assert verify_choice("The answer is C", gold).kind is VerdictKind.WRONG


def test_the_bug_cases_come_out_as_expected(shared_path):
    cases = map(json.loads, (shared_path / "bug_cases.jsonl").read_text().splitlines())
    cases = [case for case in cases if case["area"] == "choice"]
    wrong = [
        case["id"] for case in cases if verify_choice(**case["input"]).score != case["expected"]
    ]
    assert len(cases) > 100
    assert wrong == []
