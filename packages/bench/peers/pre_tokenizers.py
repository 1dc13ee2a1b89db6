"""Ids of hard texts under each way of cutting text that a GGUF file names: packages/models/test/fixtures/pre_tokenizers.json.

`python pre_tokenizers.py FILE`, with transformers and tokenizers installed. The cuts are those of transformers' own converters for GPT-2, Qwen2 and
Llama 3, and for SmolLM2 and llama.cpp's default Split and Digits steps of tokenizers. The merges were trained on the texts without any cut, so
that each place where a text is cut shows in the ids.
"""
import json
import sys

import tokenizers
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers.convert_slow_tokenizer import GPT2Converter, Qwen2Converter, TikTokenConverter

texts = [
    "I'm sure you're right, they'll say it's 'tis we've they'd I'D SHE'S don't 'S 'LL",
    "can’t won’t it’s ‘quoted’ “double” l'été aujourd'hui d'accord",
    "1 12 123 1234 12345 1234567890 3.14159 1,000,000 0x1F 2024-11-26 10:30:59",
    "½ ¼ ² ³ ⅷ Ⅻ ١٢٣ ४५६ 一二三 ①②③ 𝟙𝟚𝟛 x²y³",
    "  leading  double   triple    spaces and trailing   ",
    "tabs\tand\t\ttabs \t mixed\t ",
    "line\nbreaks\n\nand\r\nwindows\r\n\r\nand\n \n spaces \n\n\n end\n",
    "\u00a0non-breaking\u00a0\u00a0spaces\u2003em\u3000ideographic\u200bzero\ufeffwidth\u2028line\u0085next",
    "naïve café Łódź Zażółć gęślą jaźń ÆØÅ ßẞ İstanbul ıI ﬁ ﬂ",
    "e\u0301 cafe\u0301 n\u0303 a\u0308\u0302 \u1112\u1161\u11ab 한글 각",
    "日本語のテキスト、漢字とカタカナ。中文文本，标点！",
    "Привет, мир! Ελληνικά γράμματα; עברית עם ניקוד שָׁלוֹם العربية مرحبا",
    "हिन्दी देवनागरी ไทยภาษา தமிழ் မြန်မာ",
    "😀😃 👍🏽 👩‍👩‍👧‍👦 🇩🇪🇫🇷 ❤️ ☎︎ 🏳️‍🌈!",
    "def f(x):\n    return x**2 + 1  # comment\n\n\nclass A(B):\n\tpass",
    "if (a != b && c >= d || !e) { x[i]->y = \"str\\n\"; } // ok",
    "<html><body class=\"x\">a &amp; b</body></html> https://example.org/a?b=c&d=%20e#f user@mail.co",
    "!!! ??? ... --- ___ *** ### $$$ %%% ^^^ ~~~ ``` ||| <<< >>> === +++",
    "$100 €20 £3 ¥400 5% 10°C 3×4÷2±1 a≠b ∑∞ → ← ⇒ §12 © ®",
    "word1word 1word word1 a1b2c3 v2.0 COVID-19 3rd 21st x86_64 CamelCaseWord snake_case_word",
    "a\u0000b\u0001c\u007fd \ufffd \ue000",
    "\U0001d400\U0001d401 𐐷 𠀀𠀁 \U000e0041",
    " a  b   c\n d\t e ' s 're  'll\n've",
    "...'s!'t?'re \n's 'tisn't",
    "\n\n\n   \n\t\n  x",
    "   ",
    "\n",
    "",
]

# Merges that cross everything; the bytes come first, as everywhere.
trained = Tokenizer(models.BPE())
trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
trained.train_from_iterator(
    texts * 2, trainers.BpeTrainer(vocab_size=1100, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False, max_token_length=8)
)
model = json.loads(trained.to_str())["model"]
vocab, merges = model["vocab"], [tuple(m) for m in model["merges"]]


class Slow:  # what the converters ask for
    add_prefix_space = False
    add_bos_token = False
    bos_token = bos_token_id = None
    bpe_ranks = {m: i for i, m in enumerate(merges)}
    encoder = vocab


def built(*steps):
    t = Tokenizer(models.BPE(vocab, merges))
    t.pre_tokenizer = pre_tokenizers.Sequence(list(steps))
    return t


def split(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


def llama3():
    t = built(split(TikTokenConverter().pattern), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
    t.model = models.BPE(vocab, merges, ignore_merges=True)
    return t


ways = {
    "gpt-2": GPT2Converter(Slow()).converted(vocab, merges),
    "qwen2": Qwen2Converter(Slow()).converted(vocab, merges),
    "llama-bpe": llama3(),
    "smollm": built(pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)),
    "default": built(
        split(r"[\p{P}\$\+<=>\^~\|]+"),
        split(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"),
        split(r"\p{N}+"),
        split("[0-9][0-9][0-9]"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ),
}
rows = []
for text in texts:
    ids = {}
    for way, t in ways.items():
        t.post_processor = None
        t.decoder = decoders.ByteLevel()
        ids[way] = t.encode(text, add_special_tokens=False).ids
    rows.append({"text": text, "ids": ids})
versions = {"transformers": transformers.__version__, "tokenizers": tokenizers.__version__}
with open(sys.argv[1], "w", encoding="utf-8") as out:
    tokens = [token for token, _ in sorted(vocab.items(), key=lambda item: item[1])]
    json.dump({"format": 1, "versions": versions, "tokens": tokens, "merges": [" ".join(m) for m in merges], "rows": rows}, out, ensure_ascii=False)
    out.write("\n")
