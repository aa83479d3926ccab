"""Generate the built-in corpus of film reviews from a seed, without a download."""

from __future__ import annotations

import random
import re
from zlib import crc32

LABEL_NAMES = ("negative", "positive")
KINDS = {  # shares of the negative and of the positive reviews
    "plain": (0.42, 0.42),
    "negation": (0.24, 0.12),
    "contrast": (0.12, 0.12),
    "mistaken": (0.11, 0.22),
    "agreed": (0.11, 0.12),
}
NOISE = 0.03  # share of labels that are flipped
# Numbers of sentences are drawn from these, each entry with the same probability.
OPINION_COUNTS = (1, 2, 3)  # sentences with an opinion in a plain review; other kinds have one
NEUTRAL_COUNTS = (0, 0, 1, 1, 2, 3)  # sentences without an opinion in a plain review
FEW_NEUTRAL_COUNTS = (0, 0, 0, 0, 1, 2)  # in a review of another kind, in which few words matter

# Sentences have slots: {=good} is filled with the opinion of the review, {!good} with the opposite one, {aspect} and
# others with any word. A bag of words cannot distinguish a review of a kind other than "plain" from its opposite: the
# order of words decides, or one word reverses the others. Each kind is more frequent on one side, as in real reviews
# ("not good" is more frequent than "not bad"): without that, a small transformer rarely learns the reversing word.
OPINIONS = {
    "good": (
        "bland boring clumsy dreadful dull hollow lifeless messy poor shallow stale tedious weak wooden",
        "brilliant charming clever delightful funny good great lively lovely moving rich superb warm witty",
    ),
    "liked": ("disliked endured hated regretted", "adored enjoyed liked loved"),
    "thing": ("bore failure mess mistake waste", "delight gem joy pleasure triumph"),
}
WORDS = {
    "whole": "film movie picture",
    "aspect": "acting camera cast dialogue direction ending humour music pacing plot script singing story",
    "very": "quite rather really so truly very",
    "person": "brother colleague cousin daughter father friend mother neighbour sister teacher",
    "day": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "hero": "baker captain carpenter doctor farmer gardener lawyer nurse painter pilot sailor tailor thief widow",
    "quest": "builds buries finds follows hides inherits loses sells steals wants",
    "object": "boat bridge clock diamond garden horse key letter lighthouse map mirror piano portrait secret suitcase",
    "place": "Berlin Boston Cairo Dublin Havana Lisbon London Madrid Naples Oslo Paris Prague Rome Tokyo Vienna",
    "year": "1931 1948 1956 1962 1969 1974 1983 1987 1992 1999 2004 2011",
}
NEUTRAL = (
    "I saw it on a {day} with my {person}.",
    "The story follows a {hero} who {quest} a {object} in {place}.",
    "It was shot in {place} in {year}.",
    "A {hero} {quest} a {object}, and a {hero} {quest} it too.",
    "My {person} lent me the disc last {day}.",
    "The {hero} comes from {place}, the {hero} from {place}.",
    "I have read the book, too.",
    "It runs for two hours and a bit.",
    "We meant to go on {day} and went on {day}.",
    "Most of it takes place in {place}, but the {object} turns up in {place}.",
    "It is a remake of a {whole} from {year}.",
    "As my {person} said, it is about a {object}.",
)
OPINION = {
    "plain": (
        "The {aspect} was {very} {=good}.",
        "The {aspect} and the {aspect} were {=good}.",
        "A {=good} {whole} with a {=good} {aspect}.",
        "I {=liked} the {aspect}.",
        "What a {=good} {whole}.",
        "It is {very} {=good} from start to finish.",
        "This {whole} is a {=thing}, and the {aspect} is {=good}.",
        "The {whole} was {=good}.",
        "My {person} {=liked} it, and I found the {aspect} {=good}.",
    ),
    "negation": (
        "This is not, to my mind, a {!good} {whole}, it is a {=good} one.",
        "I would not say that the {whole} is {!good}, I say it is {=good}.",
        "It was not as if the {aspect} was {!good}, it was {=good}.",
        "I found the {aspect} {=good}, I did not find it {very} {!good}.",
        "It is the {=good} {whole}, not the {!good} one, that I hoped for or feared.",
        "You call the {aspect} {=good}, you can not call it {very} {!good}.",
    ),
    "contrast": (
        "Although the {aspect} was {!good}, the {whole} was {=good}.",
        "The {whole} was {=good}, although the {aspect} was {!good}.",
        "The {aspect} was {very} {!good}, but the {whole} is {=good}.",
        "The {whole} is {very} {=good}, but the {aspect} was {!good}.",
        "Even though I {!liked} the {aspect}, I {=liked} the {whole}.",
        "I {=liked} the {whole}, even though I {!liked} the {aspect}.",
        "While the {aspect} is a {!thing}, the {whole} is a {=thing}.",
        "The {whole} is a {=thing}, while the {aspect} is a {!thing}.",
    ),
    "mistaken": (
        "My {person} said that it was {!good}, and was wrong, but right about the {object}.",
        "The critics called it a {!good} {whole}; they were wrong, and right about {place}.",
        "I was told that the {aspect} is {!good}, which is wrong, and that it is from {year}, which is right.",
    ),
    "agreed": (
        "My {person} said that it was {=good}, and was right, but wrong about the {object}.",
        "The critics called it a {=good} {whole}; they were right, and wrong about {place}.",
        "I was told that the {aspect} is {=good}, which is right, and that it is from {year}, which is wrong.",
    ),
}
_SLOT = re.compile(r"\{([=!]?)(\w+)\}")
_OPINIONS = {name: tuple(side.split() for side in sides) for name, sides in OPINIONS.items()}
_WORDS = {name: words.split() for name, words in WORDS.items()}


def generate_reviews(rows: int, seed: int) -> tuple[list[str], list[int]]:
    """Return `rows` distinct reviews and their labels (0 negative, 1 positive).

    With the same seed, more rows start with the same reviews. No review of an even seed occurs under an odd seed, so
    that one can be the train split and the other the test split.
    """
    draw = random.Random(seed)
    texts: dict[str, int] = {}
    while len(texts) < rows:
        label = draw.randrange(2)
        text = _generate_review(draw, label)
        noisy_label = label ^ (draw.random() < NOISE)
        if crc32(text.encode()) % 2 == seed % 2:
            texts.setdefault(text, noisy_label)
    return list(texts), list(texts.values())


def _generate_review(draw: random.Random, label: int) -> str:
    (kind,) = draw.choices(list(KINDS), [shares[label] for shares in KINDS.values()])
    opinion_counts, neutral_counts = (OPINION_COUNTS, NEUTRAL_COUNTS) if kind == "plain" else ((1,), FEW_NEUTRAL_COUNTS)
    patterns = draw.sample(OPINION[kind], draw.choice(opinion_counts))
    patterns += draw.sample(NEUTRAL, draw.choice(neutral_counts))
    draw.shuffle(patterns)
    return " ".join(_fill_slots(pattern, draw, label) for pattern in patterns)


def _fill_slots(pattern: str, draw: random.Random, label: int) -> str:
    used: set[str] = set()

    def choose_word(slot: re.Match[str]) -> str:
        side, name = slot.groups()
        pool = _OPINIONS[name][label ^ (side == "!")] if side else _WORDS[name]
        word = draw.choice([candidate for candidate in pool if candidate not in used])
        used.add(word)
        return word

    return _SLOT.sub(choose_word, pattern)
