"""What `builtin:facts` is written in: invented towns, twelve kinds of statement with their questions, and idle talk.

Every statement has 14 words once its town and value are filled in, and so has every long sentence of idle talk; a short
one has 7. No word of the talk, stop words aside, occurs in a statement or a question, nor begins with its four first letters.
"""

from __future__ import annotations

from typing import NamedTuple

STATEMENT_WORDS = 14

# The first ten are five pairs that differ in one letter: a town is not told from its twin by its look.
TOWNS = (
    "Velmora", "Velmona", "Tarnick", "Tarnock", "Oskelby", "Oskerby", "Quillon", "Quillan", "Dravenna", "Drovenna",
    "Hestrow", "Ylvaret", "Pommering", "Aldesk", "Kirnholt", "Sundavar", "Ferrowby", "Marquenne", "Thessip", "Lundrigg",
)  # fmt: skip
PEOPLE = (
    "Ostrander", "Bellweather", "Kastelan", "Morrowin", "Tibbenham", "Vasquelle",
    "Halvorset", "Drummage", "Eskildane", "Quennell", "Rothesby", "Imbrecht",
)  # fmt: skip
NUMBERS = ("36", "48", "52", "61", "64", "75", "84", "87", "93", "96", "108", "112")
YEARS = ("1873", "1886", "1894", "1907", "1912", "1926", "1931", "1948")
PEAKS = ("Greyhorn", "Starkfell", "Ravenscap", "Windpike", "Ironbrow", "Hollowtop")
CROPS = ("barley", "apricots", "saffron", "lentils", "hops", "walnuts")
STUDIES = ("astronomy", "botany", "geometry", "rhetoric", "medicine", "philosophy")
PLAYS = ("Moonfall", "Tanglewood", "Candlemas", "Saltwater", "Nightshade", "Firebird")


class Kind(NamedTuple):
    """One kind of statement about a town, and three ways to ask for it.

    `direct` uses the statement's words, `reworded` shares little but the town, and `inverse` gives the value and asks for the town.
    """

    name: str
    statement: str
    values: tuple[str, ...]
    direct: str
    reworded: str
    inverse: str


KINDS = (
    Kind(
        "harbour",
        "The harbour of {town} was rebuilt in {value} after a winter storm destroyed it.",
        YEARS,
        "When was the harbour of {town} rebuilt?",
        "In which year did {town} restore its port?",
        "Which town rebuilt its harbour in {value}?",
    ),
    Kind(
        "bridge",
        "The old stone bridge at {town} carries {value} travellers across the river every morning.",
        NUMBERS,
        "How many travellers does the stone bridge at {town} carry?",
        "How many people walk over the water at {town} before noon?",
        "Where does a stone bridge carry {value} travellers?",
    ),
    Kind(
        "museum",
        "The museum in {town} owns a famous collection of {value} painted clocks from abroad.",
        NUMBERS,
        "How many painted clocks does the museum in {town} own?",
        "What is the number of foreign timepieces exhibited at {town}?",
        "Which museum owns {value} painted clocks?",
    ),
    Kind(
        "mayor",
        "The mayor of {town} is {value}, a retired teacher who was elected without opposition.",
        PEOPLE,
        "Who is the mayor of {town}?",
        "Which former schoolmaster governs {town}?",
        "Which town elected {value} as mayor?",
    ),
    Kind(
        "mountain",
        "The highest mountain above {town} has long been called {value} by the local shepherds.",
        PEAKS,
        "What is the highest mountain above {town} called?",
        "Which name do herders give the tallest peak near {town}?",
        "Above which town does the mountain {value} rise?",
    ),
    Kind(
        "railway",
        "The railway line to {town} was opened by {value}, a wealthy engineer from abroad.",
        PEOPLE,
        "Who opened the railway line to {town}?",
        "Which rich foreign builder brought trains to {town}?",
        "Where did the engineer {value} open a railway?",
    ),
    Kind(
        "farmers",
        "The farmers around {town} grow mostly {value}, which they export overseas in sealed barrels.",
        CROPS,
        "What do the farmers around {town} grow?",
        "Which crop is shipped from the countryside of {town}?",
        "Around which town do farmers grow {value}?",
    ),
    Kind(
        "university",
        "The university of {town} teaches {value} to more students than any other subject there.",
        STUDIES,
        "Which subject does the university of {town} teach to most students?",
        "What do young scholars in {town} prefer to learn?",
        "Which university teaches {value} to most students?",
    ),
    Kind(
        "cathedral",
        "The roof of the cathedral in {town} rests on {value} pillars of green marble.",
        NUMBERS,
        "How many marble pillars does the cathedral in {town} have?",
        "How many columns hold up the great church of {town}?",
        "Which cathedral rests on {value} marble pillars?",
    ),
    Kind(
        "theatre",
        "The theatre in {town} reopened last autumn with {value}, a comedy about two thieves.",
        PLAYS,
        "With which comedy did the theatre in {town} reopen?",
        "Which funny play was staged first at the renewed playhouse of {town}?",
        "Which theatre reopened with the comedy {value}?",
    ),
    Kind(
        "lake",
        "The lake beside {town} stays frozen for {value} days in all but mild years.",
        NUMBERS,
        "For how many days does the lake beside {town} stay frozen?",
        "How long can skaters use the ice near {town}?",
        "Which lake stays frozen for {value} days?",
    ),
    Kind(
        "hospital",
        "The hospital of {town} was founded by {value}, a generous merchant who traded silk.",
        PEOPLE,
        "Who founded the hospital of {town}?",
        "Which trader paid for the clinic in {town}?",
        "Which hospital did the merchant {value} found?",
    ),
)

# Idle talk: somebody (4 words) did something (6 words) somehow (4 words), or somebody did something briefly (3 words).
SOMEBODY = (
    "My neighbour from upstairs", "The lady next door", "Our cousin from downstairs", "An acquaintance of mine", "His quiet little brother",
    "Her aunt and uncle", "The tired bus driver", "Their cheerful new tenant", "Somebody in the kitchen", "A stranger in boots",
    "The boy with freckles", "A woman in slippers", "The baker's sleepy apprentice", "The girl with braids", "Our friendly postal worker",
    "The man behind me", "Half of the family", "A guest at breakfast", "The nurse on leave", "My sister as always",
    "The children after lunch", "One of the cleaners", "The waiter in gloves", "Her father and grandmother",
)  # fmt: skip
DID = (
    "folded the clean towels into baskets", "baked a loaf of rye bread", "searched the sofa for lost keys",
    "stirred the soup with a spoon", "wiped crumbs off the kitchen shelf", "pressed a shirt and some trousers",
    "trimmed the tomatoes on the balcony", "tidied the shoes in the hallway", "sliced an onion for the salad",
    "hummed a tune about sunny weather", "swept dry leaves off the porch", "peeled potatoes next to the oven",
    "mended a sock with blue yarn", "packed sandwiches and a ripe pear", "brushed the cat on the rug",
    "borrowed a ladder and some nails", "poured tea into the chipped mugs", "scrubbed the pan with hot suds",
    "wrapped a present in plain paper", "read a magazine about indoor plants", "hung the coats on wooden hooks",
    "chose wallpaper for the spare bedroom", "fed the goldfish a small pinch", "sorted buttons into little glass jars",
    "whistled while rinsing the breakfast bowls", "planted basil in an empty tin", "dropped a fork under the chair",
    "warmed some milk for the baby", "shook the blanket from the terrace", "filled a bucket with soapy foam",
)  # fmt: skip
SOMEHOW = (
    "before the kettle boiled", "while the radio murmured", "on a lazy weekend", "in almost perfect silence", "as slowly as possible",
    "just after a nap", "during the lunch break", "with hardly any noise", "because guests were coming", "until the phone rang",
    "and then sat down", "in a cheerful mood", "despite a slight headache", "since nobody else would", "for no particular reason",
    "just to keep awake", "almost as an afterthought", "whenever the rain stopped", "right before going out", "in spite of hiccups",
    "with the curtains drawn", "like on any Tuesday", "while supper was cooking", "under the kitchen lamp",
)  # fmt: skip
DID_BRIEFLY = (
    "fell asleep early", "missed the bus", "made pancakes again", "lost an umbrella", "laughed very loudly", "ordered more noodles",
    "needed a haircut", "caught a cold", "forgot the shopping", "sneezed and coughed", "wanted another biscuit", "tried new shoes",
    "spilled some coffee", "bought cheap socks", "dreamed about cake", "skipped the dessert", "burnt the toast", "cleaned the mirror",
    "yawned and stretched", "hated the wallpaper",
)  # fmt: skip
