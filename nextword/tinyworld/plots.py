"""The plots of the short stories: what a person must have for it, a title, and the story with its choices.

Slots: `{hero}` and `{friend}` are given names, `{full}` the hero's full name; `{she} {her} {obj}` go with the hero,
`{fshe} {fher} {fobj}` with the friend. `{weather}`, `{season}`, `{place}`, `{thing}`, `{visitor}` and `{elder}` are
drawn for the story and are no facts of the world; whatever else a slot holds is one. A blank line parts two paragraphs.
"""

from typing import NamedTuple


class Plot(NamedTuple):
    """A story; `needs` names the relations of the hero that it states."""

    needs: tuple[str, ...]
    title: str
    text: str


WEATHER = (
    "sunny", "windy", "rainy", "foggy", "cold", "warm", "quiet", "bright",
)  # fmt: skip
SEASONS = (
    "spring", "summer", "autumn", "winter",
)  # fmt: skip
PLACES = (
    "under the bridge", "behind the mill", "in the tall grass", "on the church steps", "beside the well",
    "in the hay barn", "at the edge of the wood", "near the river", "on top of the hill", "in the old boat",
)  # fmt: skip
THINGS = (
    "brass key", "silver spoon", "glass bottle", "wooden box", "torn map", "pocket watch", "leather book",
    "copper bell", "painted egg", "small lantern",
)  # fmt: skip
VISITORS = (
    "stranger", "child", "traveller",
)  # fmt: skip
ELDERS = (
    "woman", "man",
)  # fmt: skip

PLOTS = (
    Plot(
        ("pet", "pet_name", "friend", "town"),
        "[The Lost {Pet}|Where Is {pet_name}?|{pet_name} Runs Away]",
        """
[One {weather} morning|On a {weather} day in {season}|Early one {weather} morning] {hero} [could not find|looked in
vain for] {her} {pet}. "{pet_name}!" {she} called. "[Where are you|Come home], {pet_name}?" [Nobody answered.|There was
no sound.|Only the wind answered.]

{hero} [asked everybody in {town}|walked through all the streets of {town}|looked behind every door in {town}]. [The
baker had seen nothing.|The children had seen nothing.|Nobody had seen {pet_name}.] {She} was [sad|worried] and [sat
down on a bench|went home slowly].

[Then|In the evening] {her} best friend {friend} came. "[I heard something|Something is moving] {place}," said
{friend}. [They ran as fast as they could.|They went there together.] And there was {pet_name}, [asleep|eating|quite
happy]! {hero} [laughed and|was so glad that {she}] thanked {friend} [three times|again and again]. From then on {she}
[always closed the gate|never forgot to lock the door].
""",
    ),
    Plot(
        ("food", "spouse", "town"),
        "[A Dinner for {hero}|The Surprise|{Food} for Two]",
        """
{hero} came home [late|tired|cold and tired] [after a long day|one {weather} evening]. [The house smelled|There was a
smell] of {food}. {hero} loved {food} more than any other food.

"[Who has been cooking|What is this]?" {she} asked. {Her} {partner} {spouse} [stood at the stove|came out of the
kitchen] and smiled. "[It is your favourite|I know what you like]. [I went to the market for it|I found everything in
the market of {town}]."

They [sat down at the table|lit a candle] and ate. [It was a little too salty, but {hero} said nothing.|It was the best
that {she} had ever eaten.|There was enough for two days.] "Tomorrow [I will cook|it is my turn]," said {hero}.
""",
    ),
    Plot(
        ("colour", "friend"),
        "[The {Colour} Scarf|A Present for {hero}|{friend}'s Present]",
        """
It was {hero}'s birthday, and {friend} did not know what to [give|buy] {obj}. [{friend} went from shop to
shop.|{friend} thought about it for a week.] [A {thing}? No, {hero} had one.|A {thing}? No, that was too dear.]

"What do you like best?" {fshe} asked at last. "[That is easy|I like simple things]," said {hero}. "My favourite colour
is {colour}." So {friend} [bought {colour} wool|found some {colour} wool at home] and [knitted|made] a [long|warm]
scarf.

[It took three weeks.|It was not quite straight.] When {hero} opened the parcel, {she} put the {colour} scarf on at
once. {She} wore it [all {season}|every day], and everybody [knew|said] that {friend} was {her} best friend.
""",
    ),
    Plot(
        ("job", "town"),
        "[A Working Day|{hero} at Work|The Busy {Job}]",
        """
{hero} is {a_job} in {town}. {She} [gets up|rises] [at five|before the sun|when the cock crows]. [First {she} drinks a
cup of tea.|First {she} eats some bread and cheese.] Then the work begins.

One {weather} day in {season} {she} {work}. [It was hard work.|The work went well.] At noon a {visitor} came by and
asked, "Do you never get tired?" "[Of course I do|Every day]," said {hero}, "but [I like what I do|somebody has to do
it]. [A good {job} is never bored.|There is only one {job} like me in {town}.]"

The {visitor} [laughed and stayed to help|gave {obj} {a_thing} and went on]. In the evening {hero} was [tired and
happy|happy with what {she} had done].
""",
    ),
    Plot(
        ("town", "mother"),
        "[A Letter from {mother_given}|The Letter|News from Home]",
        """
The postman [knocked at {hero}'s door|brought {hero} a letter]. It was from {her} mother, {mother}. "[Dear|My dear]
{hero}," wrote {mother_given}, "the [apples|plums|pears] are ripe, and [the roof is mended|the garden is full of
birds]. [When will you come and see us|How is life in {town}]?"

{hero} read the letter [twice|three times]. Then {she} packed {her} bag. [The way was long|The road was wet], and it
was a {weather} day, but {she} [sang as {she} went|did not mind].

{mother_given} was [standing at the gate|working in the garden]. "You came!" she cried. They [drank tea|talked until
midnight], and {hero} stayed for [three days|a week] before {she} went back to {town}.
""",
    ),
    Plot(
        ("friend", "town"),
        "[The {Thing}|What {hero} Found|The Secret of the {Thing}]",
        """
[One {season} day|On a {weather} afternoon] {hero} and {her} best friend {friend} [were walking|went for a walk] near
{town}. {Place}, something [shone|lay on the ground]. It was {a_thing}! "[Whose is it|Who has lost this]?" asked
{hero}. "[I do not know|Nobody I know]," said {friend}.

They [asked at every house|put up a note at the market]. For [three|five|seven] days nobody came. Then an old {elder}
[knocked|stopped them in the street]. "That {thing} was my [mother's|father's|grandmother's]," the old {elder} said. "I
thought it was gone for ever."

{hero} gave the {thing} back [at once|gladly]. [They got a basket of cherries as thanks.|They would take no money for
it.] "[It is good to find things|Finding is good]," said {friend}, "and [it is better to give them back|giving back is
better]."
""",
    ),
    Plot(
        ("town", "landmark"),
        "[The Storm|A Night of Wind|The Storm in {town}]",
        """
[In the {season} of that year|One night in {season}] a storm came over {town}. The wind [howled|blew] and the rain
[fell like stones|would not stop]. {hero} [lay awake|sat at the window] and thought of {landmark}. [Would it stand|Was
it still there]?

In the morning the sky was [clear|blue]. {hero} put on {her} boots and ran. [Trees lay across the road.|There was water
everywhere.] But {landmark} [still stood|had not moved]. "[It has seen worse|It takes more than that]," said a
neighbour.

All of {town} [came to help|worked together]. They [cleared the streets|mended the roofs], and {hero} [carried soup to
the old people|swept until {her} arms hurt]. By the evening {town} [looked as before|was itself again].
""",
    ),
    Plot(
        ("town", "product"),
        "[Market Day|{hero} Goes to the Market|The Market of {town}]",
        """
It was market day in {town}. People had come from [far away|all the villages] to buy {product}, for which {town} is
known. {hero} [pushed through the crowd|had a long list]. {She} wanted [bread, onions and {a_thing}|cheese, eggs and
{a_thing}].

"[How much is it|What does it cost]?" {she} asked. "[Five|Six|Eight] coins," said the old {elder}. "[Too much|I have
only four]," said {hero}. They talked [for a while|about the weather, which was {weather}], and in the end {she} paid
[three|four] coins.

On the way home {she} [met {friend_any}|saw {friend_any}] and told [the whole story|all about it]. "[You were
lucky|Well done]," said {friend_any}.
""",
    ),
    Plot(
        ("pet", "pet_name", "food"),
        "[The Thief|Who Ate the {Food}?|{pet_name} the Thief]",
        """
{hero} had made {food}, {her} favourite. It stood on the table, still warm. {She} went out to [fetch water|close the
gate], and when {she} came back, [half of it was gone|the plate was empty].

"[Who has done this|A thief]!" cried {hero}. {She} looked [under the bed|behind the curtain|in the cupboard]. Nobody.
Then {she} heard a [small noise|soft sound] behind the stove. There sat {pet_name}, {her} {pet}, and [did not look
sorry at all|licked and licked].

{hero} wanted to be angry, but {she} had to laugh. "[So you like it too|At least you have good taste]," {she} said.
[Next time {she} made twice as much.|Since that day {she} has kept {her} plates on the highest shelf.]
""",
    ),
    Plot(
        ("friend", "birthplace", "town"),
        "[The Journey|Back to {birthplace}|The Road to {birthplace}]",
        """
{hero} lived in {town}, but {she} was born in {birthplace}. "[Show me the place|I should like to see it]," said {her}
best friend {friend} one {weather} day. So they [took the early train|set out on foot|borrowed a cart].

[They talked all the way.|{friend} fell asleep on the way.] In {birthplace} {hero} [showed {fobj} the street where
{she} had played|looked for the house with the green door]. [Everything was smaller than {she} had thought.|Little had
changed.] An old neighbour [knew {obj} at once|remembered {obj}]. "{full}! [You have grown|How the years go by]," the
neighbour said.

They [drank lemonade|ate cake] {place}. "[Thank you for coming|I am glad you came]," said {hero}. "[It is good to know
where you come from|Now I know you better]," said {friend}.
""",
    ),
    Plot(
        ("job", "friend", "friend_job"),
        "[The Bet|Two Friends|{hero} and {friend} Change Places]",
        """
{hero} was {a_job}, and {her} best friend {friend} was {a_friend_job}. "[Your work is easy|I could do your work]," said
{hero} one evening. "[So is yours|And I yours]," said {friend}. So they changed places for a day.

[It began badly.|It was a {weather} day.] {hero} [dropped everything|did not know where to begin]. {friend} [was tired
before noon|asked for help three times]. In the evening they met {place}, [dirty and hungry|without a word].

"[I was wrong|You were right]," said {hero}. "[A {friend_job} must know a great deal.|I would rather be {a_job}.]"
{friend} [laughed|nodded]. "And I would rather be {a_friend_job}." The next morning {hero} {work}, and [it had never
been so easy|{she} whistled while {she} did it].
""",
    ),
    Plot(
        ("colour", "town"),
        "[The {Colour} Door|{hero} Paints a Door|The New Door]",
        """
All the doors in {hero}'s street in {town} were [plain|old and pale]. "[I am tired of this|That must change]," said
{hero}, and {she} bought a pot of {colour} paint, for {colour} was {her} favourite colour.

{She} painted [all day|from morning to noon]. [There was paint in {her} hair.|A bird sat down on the wet paint.] The
neighbours came to look. "[How odd|Well, well]," said one. "[How pretty|I want one too]," said another.

[A week|A month] later there were [four|five|six] new doors in the street, each of another colour. But the {colour} one
was [the first|{hero}'s], and the children still [call it the {colour} house|use it to find their way].
""",
    ),
)
