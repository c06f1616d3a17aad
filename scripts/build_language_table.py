"""Writes the language table from message catalogues, n-gram profiles and a list of frequent words.

Usage: python scripts/build_language_table.py PROFILES CATALOGUES... --english FILE

PROFILES     the folder `profiles` of langdetect 1.0.9 (Apache-2.0): n-gram counts over Wikipedia
CATALOGUES   unpacked wheels with gettext catalogues; built from Django 5.2, Wagtail 8.0.1, Sphinx 9.0.4 and Apache
             Superset 6.1.0 (BSD-3-Clause, BSD-3-Clause, BSD-2-Clause, Apache-2.0)
FILE         gzip CSV with English sentences in the column `text` (distill/sentences)

Letters: naive Bayes over sequences of one to three, 70 % from the profiles and 30 % from the catalogues. Words: half from
the catalogues, half from scripts/data/function_words.txt. The texts that the tests judge by are not read.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec
import numpy as np

from router_extproc.analysis import language, language_table, slice_hashes

# Languages by script, with what speaks for each before its text is seen: how much is written in it, in coarse steps.
SCRIPTS: dict[str, dict[str, float]] = {
    "latin": {
        "en": 1.0,
        **dict.fromkeys(
            ["de", "fr", "es", "pt", "it", "nl", "sv", "no", "da", "pl", "cs", "hu", "ro", "fi", "tr", "id", "vi"], 0.0
        ),
        **dict.fromkeys(["sk", "sl", "hr", "et", "lt", "lv", "ca"], -1.0),
        **dict.fromkeys(["af", "gl", "eu", "ga", "cy", "is", "sw", "sq", "az"], -4.0),
    },
    "cyrillic": {"ru": 0.0, "uk": 0.0, "bg": -1.0, "sr": -1.0, **dict.fromkeys(["mk", "be", "kk"], -4.0)},
    "arabic": {"ar": 0.0, "fa": -1.0, "ur": -1.0},
    "devanagari": {"hi": 0.0, "mr": -3.0, "ne": -3.0},
}
OTHER_NAMES = {"nb": "no", "bs": "hr", "sr_Latn": "hr", "sr@latin": "hr", "ms": "id"}
KEPT = 52_000
MOST_ENGLISH = 3_000
_SHARE_OF_PROFILES, _SHARE_OF_LIST = 0.7, 0.35
# What an unseen sequence or word counts for, and how much sequences of each length say.
_UNSEEN, _UNSEEN_WORD = 2e-5, 3e-5
_TRUST = {1: 0.15, 2: 0.35, 3: 0.5}
_FEWEST = 3
_FEWEST_SENTENCES = 8
_MARKUP = re.compile(r"%\(\w+\)\w|%[sd]|\{\{?[^}]*\}\}?|<[^>]*>|``[^`]*``|`[^`]*`|https?:\S+|\w+[._]\w[\w._]*|\\n|\\\"|&\w*;?")
_HEADER = "Content-Transfer-Encoding:"
_ENTRY = re.compile(r'(msgid|msgid_plural|msgstr(?:\[\d\])?|msgctxt) "(.*)"$')


def words_of(text: str) -> str:
    """The text as detection sees it: lower case, blanks between words and at both ends."""
    return " " + " ".join(language.SEPARATORS.sub(" ", text.replace("’", "'").lower()).split()) + " "  # noqa: RUF001


def entries(catalogue: Path) -> Iterator[tuple[str, str, bool]]:
    """The entries of a catalogue: kind, text, and whether a human still has to look at it."""
    kind, parts, fuzzy = "", [""], False
    for line in [*catalogue.read_text("utf-8", "replace").splitlines(), ""]:
        match = _ENTRY.match(line)
        if match is None and kind and line.startswith('"'):
            parts.append(line[1:-1])
            continue
        if kind:
            yield kind, "".join(parts), fuzzy
            if kind.startswith("msgstr") and (match is None or not match[1].startswith("msgstr")):
                fuzzy = False
        kind, parts = (match[1], [match[2]]) if match else ("", [])
        fuzzy = fuzzy or (line.startswith("#,") and "fuzzy" in line)


def read_catalogues(folders: Iterable[Path], known: set[str]) -> dict[str, set[str]]:
    """The messages of each language; the source texts are English."""
    texts: dict[str, set[str]] = {code: set() for code in known}
    for catalogue in sorted(path for folder in folders for path in folder.rglob("LC_MESSAGES/*.po")):
        name = catalogue.parent.parent.name
        code = OTHER_NAMES.get(name, name.partition("_")[0])
        if name == "ca@valencia" or code not in known:
            continue
        read = [entry for entry in entries(catalogue) if _HEADER not in entry[1]]
        sources = {text for kind, text, _ in read if kind.startswith("msgid")}
        texts["en"] |= sources
        if code != "en":
            texts[code] |= {
                text for kind, text, fuzzy in read if kind.startswith("msgstr") and not fuzzy and text not in sources
            }
    return {code: {_MARKUP.sub(" ", text) for text in sorted(said)} for code, said in texts.items()}


def letters_of(texts: Iterable[str], profile: Path) -> dict[str, float]:
    """The share of each sequence among those of its length."""
    counted: dict[int, Counter[str]] = {1: Counter(), 2: Counter(), 3: Counter()}
    for text in texts:
        words = words_of(text)
        for size, counter in counted.items():
            counter.update(words[place : place + size] for place in range(len(words) - size + 1))
    shares = {
        sequence: count / counter.total()
        for counter in counted.values()
        for sequence, count in counter.items()
        if count >= _FEWEST
    }
    if not profile.is_file():
        return shares
    content = json.loads(profile.read_text("utf-8"))
    published: Counter[str] = Counter()
    for sequence, count in content["freq"].items():
        published[sequence.lower()] += count / content["n_words"][len(sequence) - 1]
    return {
        sequence: _SHARE_OF_PROFILES * published[sequence] + (1 - _SHARE_OF_PROFILES) * shares.get(sequence, 0.0)
        for sequence in {*published, *shares}
    }


def frequent_words(texts: Iterable[str], listed: set[str]) -> dict[str, float]:
    """The share of each word, with its blanks; words of one letter are sequences of three."""
    counter = Counter(word for text in texts for word in words_of(text).split() if len(word) > 1)
    shares = {f" {word} ": count / counter.total() / 2 for word, count in counter.items() if count >= _FEWEST}
    for word in listed:
        shares[f" {word} "] = shares.get(f" {word} ", 0.0) + _SHARE_OF_LIST / len(listed)
    return shares


def weights_of(
    shares: Mapping[str, Mapping[str, float]], unseen: float
) -> Iterator[tuple[str, np.ndarray[tuple[int], np.dtype[np.float64]], float]]:
    """What each sequence or word says about the languages of one script, and how much it matters."""
    for slice_ in sorted(set().union(*shares.values())):
        found = np.array([share.get(slice_, 0.0) for share in shares.values()])
        odds = np.log(found + unseen)
        if odds.max() < np.log(unseen) + 1:
            continue
        odds -= odds.mean()
        yield slice_, odds, float(np.sqrt(found.mean()) * (odds.std() + 0.05))


def listed_words() -> dict[str, set[str]]:
    """The written list."""
    listed: dict[str, set[str]] = {}
    for line in (Path(__file__).parent / "data" / "function_words.txt").read_text("utf-8").splitlines():
        if not line.startswith("#"):
            code, *words = line.split()
            listed.setdefault(code, set()).update(word for word in words_of(" ".join(words)).split() if len(word) > 1)
    return listed


def own_words(texts: Mapping[str, set[str]], english: Iterable[str], listed: Mapping[str, set[str]]) -> list[str]:
    """Words that stand in several English sentences and in the catalogues of one other Latin language at most."""
    others = [code for code in SCRIPTS["latin"] if code != "en"]
    borrowed = Counter[str]()
    for code in others:
        counter = Counter(word for text in texts[code] for word in words_of(text).split())
        borrowed.update(word for word, count in counter.items() if count >= _FEWEST)
    sentences = Counter(word for text in english for word in set(words_of(text).split()) if len(word) > 1)
    frequent = {word for word, count in sentences.items() if count >= _FEWEST_SENTENCES and borrowed[word] <= 1}
    return sorted((frequent | listed["en"]).difference(*(listed.get(code, set()) for code in others)))


def key_of(slice_: str, table: language_table.LanguageTable) -> int:
    """The key of one sequence or word."""
    sums = table.prefix_sums(slice_hashes.code_points(slice_))
    return int(table.key(sums, np.array([0]), np.array([len(slice_)]))[0])


def main() -> None:
    """Writes the three files."""
    parser = argparse.ArgumentParser()
    parser.add_argument("profiles", type=Path)
    parser.add_argument("catalogues", type=Path, nargs="+")
    parser.add_argument("--english", type=Path, required=True)
    options = parser.parse_args()
    codes = [code for languages in SCRIPTS.values() for code in languages]
    texts = read_catalogues(options.catalogues, set(codes))
    with gzip.open(options.english, "rt", encoding="utf-8") as file:
        english = [row["text"] for row in csv.DictReader(file)]
    texts["en"] = {*sorted(texts["en"])[:MOST_ENGLISH], *english[:: max(1, len(english) // MOST_ENGLISH)]}
    listed = listed_words()
    described = language_table.Description(SCRIPTS, " ".join(own_words(texts, english, listed)))
    empty = language_table.LanguageTable(described, np.zeros(1, np.uint32), np.zeros((1, len(codes)), np.int8))
    rows: list[tuple[float, int, str, np.ndarray[tuple[int], np.dtype[np.float64]]]] = []
    for script, languages in SCRIPTS.items():
        letters = {code: letters_of(texts[code], options.profiles / code) for code in languages}
        words = {code: frequent_words(texts[code], listed.get(code, set())) for code in languages}
        for slice_, odds, matters in weights_of(letters, _UNSEEN):
            rows.append((3 * matters, empty.scripts[script].start, slice_, odds * _TRUST.get(len(slice_), 0.5)))
        rows += [
            (matters, empty.scripts[script].start, slice_, odds) for slice_, odds, matters in weights_of(words, _UNSEEN_WORD)
        ]
    table: dict[int, np.ndarray[tuple[int], np.dtype[np.float64]]] = {}
    for _, start, slice_, odds in sorted(rows, key=lambda row: -row[0])[:KEPT]:
        row = table.setdefault(key_of(slice_, empty), np.zeros(len(codes)))
        row[start : start + len(odds)] += odds
    keys = np.array(sorted(table), np.uint32)
    weights = np.clip(np.round(np.stack([table[int(key)] for key in keys]) / language_table.STEP), -127, 127).astype(np.int8)
    np.save(language_table.FOLDER / language_table.KEYS_FILE, keys)
    np.save(language_table.FOLDER / language_table.WEIGHTS_FILE, weights)
    (language_table.FOLDER / language_table.LANGUAGES_FILE).write_text(
        json.dumps(msgspec.to_builtins(described), indent=1) + "\n", "utf-8"
    )
    print(f"{len(rows)} sequences and words, {len(keys)} kept")


if __name__ == "__main__":
    main()
