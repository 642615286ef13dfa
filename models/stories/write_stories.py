"""Writes the corpus, as JSON lines: stories as plain texts and as conversations that ask for them.

    python3 write_stories.py --documents 60000 --seed 1 --out corpus.jsonl
"""

import argparse
import json
import random

from storyteller import HERE, Cast, Plot, Teller, Untellable, Words, article, capital, read_plots

MOST_TRIES = 500


class Writer:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.words = Words()
        self.plots = read_plots(HERE / "plots.txt")
        self.talk = {part.name: part for part in read_plots(HERE / "talk.txt")}

    def document(self):
        if self.random.random() < 0.4:
            return {"text": self.plain()}
        return {"messages": self.conversation()}

    # One story.

    def story(self, plot=None, must=(), thing=None):
        """Its cast and its sentences; told again until the wordings go together and name what they must."""
        for _ in range(MOST_TRIES):
            told_plot = plot or self.random.choice(self.plots)
            cast = Cast(self.words, self.random, told_plot, thing)
            ending = self.talk["ending"] if self.random.random() < 0.15 else None
            try:
                sentences = Teller(cast).story(self.talk["opening"], told_plot, ending)
            except Untellable:
                continue
            if "friend" in must and not (cast.friend and cast.friend.known) or "thing" in must and not cast.thing_known:
                continue
            return told_plot, cast, self.paragraphs(sentences)
        raise ValueError(f"{told_plot.name}: its wordings do not go together with {must or 'any story'}")

    def paragraphs(self, sentences):
        """Most stories are one paragraph or a few."""
        breaks = self.random.choice([0, 0.3, 0.5])
        text = sentences[0]
        for sentence in sentences[1:]:
            text += ("\n\n" if self.random.random() < breaks else " ") + sentence
        return text

    def plain(self):
        plot, cast, text = self.story()
        if self.random.random() < 0.12:
            return f"{self.title(plot, cast)}\n\n{text}"
        return text

    def title(self, plot, cast):
        hero = self.random.choice([f"The {cast.hero.noun.title()}", cast.hero.name or f"The {cast.hero.noun.title()}"])
        other = f"the {cast.thing.title()}" if cast.thing_known else f"the {cast.friend.noun.title()}" if cast.friend else "the Wide World"
        return f"{hero} and {other}"

    # What is asked for, and a story that has it.

    def asked(self):
        """A topic, and the story about it."""
        asked = self.random.choices(
            ["hero", "hero and thing", "hero and friend", "named hero", "hero in a place", "theme", "thing", "hero who finds", "all three"],
            [14, 34, 14, 8, 6, 6, 5, 7, 6],
        )[0]
        with_friend = [plot for plot in self.plots if plot.friend == "any"]
        if asked == "theme":
            plot = self.random.choice([plot for plot in self.plots if plot.themes])
            return self.random.choice(plot.themes), self.story(plot)
        if asked in ("hero and thing", "thing", "hero who finds", "all three"):
            return self.asked_for_thing(asked, with_friend)
        plot = self.random.choice(with_friend) if asked == "hero and friend" else None
        plot, cast, text = self.story(plot, must=("friend",) if asked == "hero and friend" else ())
        hero = self.phrase(cast.hero)
        if asked == "hero and friend":
            return f"{hero} and {self.phrase(cast.friend)}", (plot, cast, text)
        if asked == "named hero" and cast.hero.name:
            return self.random.choice([f"{article(cast.hero.noun)} named {cast.hero.name}", f"{cast.hero.name} the {cast.hero.noun}", f"{article(cast.hero.noun)} called {cast.hero.name}"]), (plot, cast, text)
        if asked == "hero in a place":
            return f"{hero} {cast.place}", (plot, cast, text)
        return hero, (plot, cast, text)

    def asked_for_thing(self, asked, with_friend):
        noun, kind = self.random.choice(self.words.every_thing)
        kinds = [plot.thing for plot in self.plots]
        fitting = [plot for plot in self.plots if plot.thing == kind]
        general = [plot for plot in self.plots if plot.thing in ("any", "solid", None) and plot.may_name("a_thing")]
        plot = self.random.choice(fitting if fitting and self.random.random() < 0.65 else general)
        if asked == "all three" and plot.friend != "any":
            plot = self.random.choice([plot for plot in with_friend if plot.thing in ("any", "solid", None, kind) and plot.may_name("a_thing")])
        if self.random.random() < 0.04:
            plot = self.random.choice([plot for plot in self.plots if plot.thing == "sky"])
            noun, kind = self.random.choice(self.words.things["sky"]), "sky"
            asked = "hero and thing" if asked in ("all three", "hero who finds") else asked
        must = ("thing", "friend") if asked == "all three" else ("thing",)
        told = self.story(plot, must=must, thing=(noun, kind))
        cast = told[1]
        thing = self.random.choice([f"the {noun}", article(noun)]) if kind == "sky" else self.random.choice([article(noun)] * 5 + [f"the {noun}", noun])
        hero = self.phrase(cast.hero)
        topic = {
            "hero and thing": f"{hero} and {thing}",
            "thing": thing,
            "hero who finds": f"{hero} {self.random.choice(['who finds', 'with', 'who has', 'that finds', 'who wants'])} {thing}",
            "all three": self.random.choice([f"{hero}, {self.phrase(cast.friend) if cast.friend else thing} and {thing}", f"{hero} and {self.phrase(cast.friend) if cast.friend else hero} and {thing}"]),
        }[asked]
        return topic, told

    def phrase(self, who):
        if who.name and self.random.random() < 0.15:
            return self.random.choice([who.name, f"{article(who.noun)} named {who.name}"])
        return self.random.choice([article(who.noun)] * 6 + [f"the {who.noun}", who.noun] + ([article(f"{who.adjective} {who.noun}")] if who.adjective else []))

    # Conversations.

    def say(self, part, topic=None, moods=None):
        wording = self.random.choice(self.talk[part].beats[0][1])
        topic = topic or self.topic()
        return Said(self, topic).fill(wording)

    def topic(self):
        hero, friend = (Cast(self.words, self.random, Plot("")).hero.noun for _ in range(2))
        noun = self.words.every_thing[self.random.randrange(len(self.words.every_thing))][0]
        return self.random.choice([article(hero), f"{article(hero)} and {article(noun)}", f"{article(hero)} and {article(friend)}"])

    def conversation(self):
        messages = []
        if self.random.random() < 0.12:
            messages.append({"role": "system", "content": self.say("system")})
        if self.random.random() < 0.15:
            self.small_talk(messages)
        if self.random.random() < 0.85 or len(messages) < 2:
            self.told(messages)
        while self.random.random() < 0.22:
            self.follow(messages)
        return messages

    def turn(self, messages, user, assistant):
        messages += [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]

    def small_talk(self, messages):
        kind = self.random.choices([("hello", "hello back"), ("who are you", "who I am"), ("other question", "I do not know"), ("statement", "statement back")], [3, 3, 6, 3])[0]
        self.turn(messages, *(self.say(part) for part in kind))

    def told(self, messages, request="request"):
        if request == "request" and self.random.random() < 0.12:
            told = self.story()
            self.turn(messages, self.say("request for anything"), told[2])
        else:
            topic, told = self.asked()
            self.turn(messages, self.say(request, topic), self.announced(topic) + told[2])
        return told

    def announced(self, topic):
        """Most replies first say what they are about, which is the easiest way to learn to look it up."""
        return self.say("announcement", topic) + "\n\n" if self.random.random() < 0.7 else ""

    def follow(self, messages):
        kind = self.random.choice(["another", "another about", "thanks", "question", "small talk", "goodbye"])
        if kind == "another":
            self.turn(messages, self.say("another"), self.story()[2])
        elif kind == "another about":
            self.told(messages, "another about")
        elif kind == "question":
            self.question(messages, self.told(messages, "request"))
        elif kind == "small talk":
            self.small_talk(messages)
        else:
            self.turn(messages, self.say(kind), self.say(f"{kind} back"))

    def question(self, messages, told):
        """About the story just told."""
        _, cast, _ = told
        hero, friend = cast.hero, cast.friend
        choices = []
        if hero.name:
            choices.append((f"What was the {hero.noun}'s name?", f"{capital(hero.pronoun('his', 'her'))} name was {hero.name}."))
            choices.append((f"Who was {hero.name}?", f"{hero.name} was {article(hero.noun)}."))
        choices.append(("Who was the story about?", f"It was about {hero.introduced()}."))
        if friend and friend.known:
            choices.append((f"Who else was in the story?", f"There was {friend.introduced()}, too."))
        self.turn(messages, *self.random.choice(choices))


class Said(Teller):
    """What is said around a story: {q} is the topic."""

    def __init__(self, writer, topic):
        super().__init__(Cast(writer.words, writer.random, Plot("")))
        self.topic = topic

    def q(self):
        return self.topic

    def fill(self, text):
        keeps_case = text[:1].islower()
        filled = super().fill(text)
        return filled[:1].lower() + filled[1:] if keeps_case else filled


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=60000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plain", action="store_true", help="plain texts only, as text with empty lines between")
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    writer = Writer(args.seed)
    with open(args.out, "w") as out:
        for _ in range(args.documents):
            out.write(writer.plain() + "\n\n" if args.plain else json.dumps(writer.document(), ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
