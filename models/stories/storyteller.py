"""Stories composed from plots.txt, talk.txt and words.toml: a story is a plot told about a hero, often a friend, and a thing.

Everything that a story says of them is chosen once (`Cast`) and kept to: names, pronouns, how they move, what the thing can do."""

import random
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent


@dataclass
class Plot:
    name: str
    thing: str | None = None  # what the thing must be good for
    friend: str | None = None  # "any", or a kind of characters
    themes: list[str] = field(default_factory=list)
    moods: list[str] = field(default_factory=list)
    beats: list[tuple[bool, list[str]]] = field(default_factory=list)  # (may be left out, its wordings)

    def may_name(self, slot):
        return any("{" + slot in wording.lower() for _, wordings in self.beats for wording in wordings)


def read_plots(path):
    plots = []
    for line in path.read_text().splitlines():
        if line.startswith("== "):
            name, *properties = line[3:].split("; ")
            plots.append(Plot(name))
            for item in properties:
                key, _, value = item.partition(" ")
                setattr(plots[-1], key, value.split(", ") if key in ("themes", "moods") else value or "any")
        elif line in ("-", "-?"):
            plots[-1].beats.append((line == "-?", []))
        elif line and not line.startswith("#"):
            plots[-1].beats[-1][1].append(line)
    return plots


def split(text):
    return [item.strip() for item in text.split(",") if item.strip()]


class Words:
    def __init__(self):
        data = tomllib.loads((HERE / "words.toml").read_text())
        self.lists = {name: split(text) for name, text in data["lists"].items()}
        self.characters = {kind: [tuple(item.split(": ")) for item in split(text)] for kind, text in data["characters"].items()}
        self.moves = data["moves"]
        self.things = {kind: split(text) for kind, text in data["things"].items()}
        self.adjectives = {kind: split(text) for kind, text in data["adjectives"].items()}
        self.places = {kind: split(text) for kind, text in data["places"].items()}
        self.names = {gender: split(text) for gender, text in data["names"].items()}
        self.every_thing = [(noun, kind) for kind, nouns in self.things.items() for noun in nouns if kind not in ("sky", "mirror")]


def article(phrase):
    """With "a" or "an"."""
    return ("an " if phrase[0] in "aeiou" and not phrase.startswith(("uni", "one")) else "a ") + phrase


def capital(text):
    return text[:1].upper() + text[1:]


def possessive(text):
    return text + ("'" if text.endswith("s") else "'s")


@dataclass
class Character:
    noun: str
    kind: str
    home: str
    gender: str
    name: str | None
    adjective: str | None
    known: bool = False  # whether the story has spoken of it

    def introduced(self):
        phrase = article(f"{self.adjective} {self.noun}" if self.adjective else self.noun)
        return f"{phrase} named {self.name}" if self.name else phrase

    def pronoun(self, he, she):
        return he if self.gender == "he" else she


def gender_of(noun):
    """One for each kind of character, so that a small model need not look back to know it: all its foxes are female."""
    return "she" if sum(noun.encode()) % 2 else "he"


SYLLABLES = "ba be bi bo da do fi fo ga go ka ki ko la le li lo lu ma me mi mo na ne ni no pa pe pi po ra ri ro sa si so ta te ti to va vi wa za zi zo".split()


class Cast:
    """Who and what one story is about."""

    def __init__(self, words, random, plot, thing=None):
        self.words, self.random = words, random
        self.memory = {}
        self.hero = self.character(random.choices(["walk", "hop", "fly", "crawl", "people", "sea"], [45, 9, 16, 9, 22, 3])[0])
        self.friend = None
        while plot.friend and (self.friend is None or self.friend.noun == self.hero.noun or self.friend.name is not None and self.friend.name == self.hero.name):
            kinds = ["walk", "hop", "fly", "crawl", "people"] if plot.friend == "any" else [plot.friend]
            self.friend = self.character(random.choice(kinds), friend=True)
        self.thing, self.thing_kind = thing or self.any_thing(plot.thing or "any")
        self.thing_adjective = random.choice(words.adjectives[self.thing_kind]) if self.thing_kind in words.adjectives and random.random() < 0.5 else None
        if self.thing_adjective and self.thing_adjective in self.thing:
            self.thing_adjective = None
        self.thing_known = False
        self.place = random.choice(words.places["sea" if self.hero.kind == "sea" else "any"])

    def any_thing(self, kind):
        if kind in ("any", "solid"):
            return self.random.choice([thing for thing in self.words.every_thing if (kind, thing[1]) != ("solid", "food")])
        return self.random.choice(self.words.things[kind]), kind

    def character(self, kind, friend=False):
        random, words = self.random, self.words
        noun, home = random.choice(words.characters[kind])
        home, _, fixed = home.rpartition(" ") if home.endswith((" he", " she")) else (home, "", "")
        gender = fixed or gender_of(noun)
        name = self.name(gender) if random.random() < (0.05 if friend else 0.1) else None
        plain = words.lists["nice"] + ["old", "little", "big", "young", "small", "sleepy", "funny"] if friend else words.lists["small"] * 2 + words.lists["trait"]
        adjective = random.choice(plain) if random.random() < 0.6 else None
        if adjective and adjective in noun or noun.startswith("old ") or kind == "young" and adjective in ("old", "big"):
            adjective = None
        return Character(noun, kind, home, gender, name, adjective)

    def name(self, gender):
        """Now and then one that nobody has, so that a reader learns to repeat any name."""
        if self.random.random() < 0.03:
            return capital("".join(self.random.choice(SYLLABLES) for _ in range(self.random.choice([2, 2, 3]))))
        return self.random.choice(self.words.names[gender])


# The thing comes with the word before it, which says whether it has to be known.
SLOT = re.compile(r"(\S+ )?\{t\}|\{(\w+)\}")


class Untellable(Exception):
    """The wordings chosen do not go together."""


class Teller:
    """Fills in the wordings of one story, in order."""

    def __init__(self, cast):
        self.cast, self.random, self.words = cast, cast.random, cast.words

    def story(self, opening, plot, ending=None):
        sentences = self.beats(opening) + self.beats(plot)
        if ending is not None:
            sentences += self.beats(ending)
        return sentences

    def beats(self, plot):
        told = []
        for optional, wordings in plot.beats:
            if not (optional and self.random.random() < 0.5):
                told.append(self.fill(self.random.choice(wordings)))
        return told

    def fill(self, text):
        text = re.sub(r"\[([^\]]*)\]", lambda m: self.random.choice(m[1].split("|")), text)
        text = re.sub(r"<(\w+)(?:=(\w+))?>", self.listed, text)
        text = re.sub(SLOT, self.slot, text)
        text = re.sub(r" {2,}", " ", text)
        return re.sub(r'(^"?|[.!?] "?|\." )([a-z])', lambda m: m[1] + m[2].upper(), text)

    def listed(self, match):
        name, label = match[1], match[2]
        if label and label in self.cast.memory:
            return self.cast.memory[label]
        if self.cast.hero.kind == "sea" and f"sea {name}" in self.words.lists:
            name = f"sea {name}"
        choice = self.random.choice([word for word in self.words.lists[name] if word not in self.cast.memory.values()])
        self.cast.memory[label or len(self.cast.memory)] = choice
        return choice

    def slot(self, match):
        before, name = match[1] or "", match[2]
        if name is None:
            return self.the_thing(re.sub(SLOT, self.slot, before))
        value = getattr(self, name.lower())()
        return capital(value) if name[0].isupper() else value

    # The thing.

    def the_thing(self, before):
        """After "his", "my" and the like a thing needs no introduction; "the" is for what has been spoken of."""
        cast = self.cast
        whose = before.strip('"( ').lower()
        sky = cast.thing_kind == "sky"
        if sky and whose in ("his", "her", "my", "your") or not sky and not cast.thing_known and whose not in ("his", "her", "my", "your", "a"):
            raise Untellable
        cast.thing_known = True
        if whose == "a" and article(cast.thing).startswith("an "):
            before = before.rstrip() + "n "
        return before + cast.thing

    def a_thing(self):
        cast = self.cast
        if cast.thing_known or cast.thing_kind == "sky":
            cast.thing_known = True
            return f"the {cast.thing}"
        cast.thing_known = True
        return article(f"{cast.thing_adjective} {cast.thing}" if cast.thing_adjective else cast.thing)

    # The hero.

    def a_hero(self):
        self.cast.hero.known = True
        return self.cast.hero.introduced()

    def hero(self):
        return self.short(self.cast.hero)

    def hero_poss(self):
        return possessive(self.short(self.cast.hero))

    def hero_call(self):
        return self.cast.hero.name or f"little {self.cast.hero.noun}"

    def short(self, who):
        if not who.known:
            who.known = True
            return who.introduced()
        if who.name is None:
            return f"the {who.noun}"
        return who.name if self.random.random() < 0.85 else f"the {who.noun}"

    def he(self):
        return self.cast.hero.gender

    def him(self):
        return self.cast.hero.pronoun("him", "her")

    def his(self):
        return self.cast.hero.pronoun("his", "her")

    def himself(self):
        return self.cast.hero.pronoun("himself", "herself")

    def home(self):
        return self.cast.hero.home

    def walked(self):
        return self.move(0)

    def ran(self):
        return self.move(1)

    def out_walking(self):
        return self.move(2)

    def move(self, which):
        return self.words.moves.get(self.cast.hero.kind, self.words.moves["walk"])[which]

    # The friend.

    def a_friend(self):
        return self.short(self.cast.friend)

    friend = a_friend

    def friend_poss(self):
        return possessive(self.short(self.cast.friend))

    def friend_call(self):
        return self.cast.friend.name or "my friend"

    def fhe(self):
        return self.known_friend().gender

    def fhim(self):
        return self.known_friend().pronoun("him", "her")

    def fhis(self):
        return self.known_friend().pronoun("his", "her")

    def fhome(self):
        return self.known_friend().home

    def known_friend(self):
        if not self.cast.friend.known:
            raise Untellable
        return self.cast.friend

    # The place.

    def in_place(self):
        return self.cast.place
