"""The words the invented world is made of: names of people, pets and towns, jobs, colours, foods."""

WOMEN = (
    "Ada", "Alma", "Anya", "Bea", "Bella", "Carla", "Clara", "Cora", "Dalia", "Dora", "Edda", "Ella", "Elsa", "Emma",
    "Esme", "Fay", "Flora", "Freya", "Gilda", "Greta", "Hanna", "Hazel", "Ida", "Ilse", "Iris", "Ivy", "Jana",
    "Josie", "Judith", "Kira", "Lena", "Lila", "Lotte", "Luna", "Mabel", "Maya", "Mina", "Mira", "Nadia", "Nell",
    "Nora", "Olga", "Pearl", "Petra", "Rosa", "Ruby", "Selma", "Tilda", "Vera", "Wanda",
)  # fmt: skip
MEN = (
    "Abel", "Adam", "Alvin", "Anton", "Basil", "Ben", "Bruno", "Carl", "Cedric", "Cosmo", "Dan", "Dexter", "Edgar",
    "Emil", "Ernest", "Felix", "Finn", "Frank", "Gus", "Harry", "Hugo", "Igor", "Ivan", "Jasper", "Joel", "Jonas",
    "Kaspar", "Keith", "Leo", "Linus", "Lukas", "Magnus", "Marvin", "Max", "Milo", "Morris", "Ned", "Nico", "Oscar",
    "Otto", "Paul", "Peter", "Quentin", "Ralph", "Rufus", "Sam", "Simon", "Theo", "Toby", "Victor",
)  # fmt: skip
FAMILIES = (
    "Arden", "Barlow", "Birch", "Calder", "Crane", "Dale", "Elm", "Fairchild", "Finch", "Garland", "Hale", "Hollis",
    "Juniper", "Kestrel", "Lark", "Marsh", "Nightingale", "Oakes", "Penrose", "Quill", "Reed", "Sparrow", "Thorne",
    "Vale", "Winter",
)  # fmt: skip
TOWNS = (
    "Amberfield", "Brindle", "Copperhill", "Dunmere", "Eastwick", "Foxglove", "Greywater", "Harrowgate",
    "Kingsbridge", "Larkspur", "Millbrook", "Thistledown",
)  # fmt: skip
RIVERS = (
    "Alder", "Bram", "Cind", "Dove", "Esk", "Fenn",
)  # fmt: skip
PRODUCTS = (
    "blue glass", "cherry jam", "church bells", "goat cheese", "honey", "paper kites", "pottery", "salted fish",
    "straw hats", "violins", "wooden toys", "woollen blankets",
)  # fmt: skip
LANDMARKS = (
    "the old mill", "the stone bridge", "the clock tower", "the harbour wall", "the apple orchard",
    "the round church", "the market hall", "the lighthouse", "the walled garden", "the windmill", "the lime avenue",
    "the castle ruin",
)  # fmt: skip
COLOURS = (
    "red", "blue", "green", "yellow", "purple", "orange", "white", "black", "silver", "brown", "pink", "grey",
)  # fmt: skip
FOODS = (
    "apple pie", "bean stew", "carrot cake", "dumplings", "egg noodles", "fish soup", "fried potatoes", "lentil soup",
    "mushroom rice", "onion tart", "pancakes", "plum jam", "pumpkin bread", "roast chicken", "spinach pie",
    "walnut bread",
)  # fmt: skip
PETS = (
    "cat", "dog", "donkey", "duck", "goat", "goose", "owl", "parrot", "pony", "rabbit", "tortoise", "turkey",
)  # fmt: skip
PET_NAMES = (
    "Acorn", "Apricot", "Biscuit", "Bramble", "Button", "Candle", "Cinnamon", "Clover", "Cricket", "Domino", "Echo",
    "Ember", "Fidget", "Ginger", "Hickory", "Inky", "Jellybean", "Kettle", "Lemon", "Marble", "Mustard", "Nutmeg",
    "Olive", "Paprika", "Pebble", "Pepper", "Pickle", "Quince", "Raisin", "Saffron", "Scamp", "Shadow", "Smoky",
    "Sorrel", "Sprout", "Thimble", "Toffee", "Truffle", "Velvet", "Waffle",
)  # fmt: skip
# A job, and what somebody with it does on a working day.
JOBS = {
    "baker": "baked forty loaves of bread",
    "beekeeper": "looked after the hives",
    "blacksmith": "made a new iron gate",
    "carpenter": "built a long oak table",
    "clockmaker": "mended three clocks",
    "doctor": "visited the sick",
    "farmer": "brought in the hay",
    "ferryman": "rowed people over the river",
    "fisher": "pulled in the nets",
    "gardener": "planted rows of beans",
    "glazier": "put new panes into old windows",
    "librarian": "sorted a hundred books",
    "lawyer": "wrote long letters",
    "miller": "ground the wheat",
    "musician": "practised for the summer concert",
    "nurse": "bandaged knees and elbows",
    "painter": "painted the front of the school",
    "potter": "shaped bowls and jugs",
    "postman": "carried the letters up the hill",
    "shepherd": "counted the sheep",
    "shoemaker": "sewed a pair of boots",
    "tailor": "cut cloth for winter coats",
    "teacher": "taught the children to read maps",
    "weaver": "wove a striped blanket",
}
