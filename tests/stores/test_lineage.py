"""The lineage graph on both databases: written with the output it tells of, never changed, walked in few queries."""

import threading

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError

from crossfade_core.errors import LineageNotFound, StoreUnavailable
from crossfade_core.lineage_graph import MAX_SIGHTINGS, SightingKind, checkpoint_digest
from crossfade_stores.job_store import SqlJobStore
from crossfade_stores.lineage_store import SqlLineageStore
from tests.fakes.clock import FakeClock

COMMIT = "0f" * 20
TABLES = ("lineage_sightings", "lineage_files", "lineage_edges")


def sha(word):
    return word.encode().hex().ljust(64, "0")


def files(*words, **others):
    """Return the facts of shards, each of a word's digest, and of other files."""
    named = {f"model-{number}.safetensors": word for number, word in enumerate(words, start=1)} | others
    return {name: {"size_bytes": 5, "sha256": sha(word)} for name, word in named.items()}


def digest(*words):
    return checkpoint_digest({f"{number}.safetensors": sha(word) for number, word in enumerate(words)})


def source(uri, *words, **others):
    return {"uri": uri, "files": files(*words, **others)}


BASE = source("local://models/base", "base-1", "base-2")
INSTRUCT = source(f"hf://acme/tuned@{COMMIT}", "tuned-1")


@pytest.fixture
def lineage(engine, clock):
    return SqlLineageStore(engine, clock)


@pytest.fixture
def publish(store, spec, clock):
    """Publish an output of the given shards in a job of its own, a second after the last; return its URI."""

    def make(*words, uri=None, position=0, job=None, base=BASE, instruct=INSTRUCT, **others):
        clock.advance(1)
        job_id = job or store.create_job(spec).id
        place = uri or f"file:///outputs/{'-'.join(words)}"
        inputs = {role: told for role, told in (("base", base), ("instruct", instruct)) if told is not None}
        store.publish_output(job_id, position, place, files(*words, **others), inputs=inputs)
        return place

    return make


def uris(nodes):
    return [node.sightings[0].uri for node in nodes]


def rows_of(engine, table):
    with engine.connect() as connection:
        return connection.execute(text(f"SELECT * FROM {table} ORDER BY 1, 2")).all()


def test_an_output_is_found_by_its_uri_with_what_it_was_made_of(lineage, publish, store, spec, clock):
    job = store.create_job(spec)
    uri = publish("half", job=job.id)
    found = lineage.of_uri(uri)
    (match,) = found.matches
    sighting = match.sighting
    assert (sighting.kind, sighting.uri, sighting.at) == (SightingKind.OUTPUT, uri, clock.now())
    assert (sighting.job_id, sighting.lam, sighting.name) == (job.id, 0.5, store.list_outputs(job.id)[0].name)
    assert (sighting.checkpoint, sighting.copy_of) == (digest("half"), None)
    assert match.sources == {"base": BASE["uri"], "instruct": INSTRUCT["uri"]}
    assert {node.checkpoint: node.level for node in found.ancestors} == {
        digest("base-1", "base-2"): 1,
        digest("tuned-1"): 1,
    }
    assert [(edge.role, edge.source_uri, edge.output_uri, edge.lam, edge.job_id) for edge in found.edges] == [
        ("base", BASE["uri"], uri, 0.5, job.id),
        ("instruct", INSTRUCT["uri"], uri, 0.5, job.id),
    ]
    assert (found.descendants, found.is_truncated) == ((), False)


def test_a_base_tells_its_outputs_the_newest_first_and_what_was_made_of_those(lineage, publish):
    first, second = publish("first"), publish("second")
    third = publish("third", base=source("local://outputs/first", "first"))
    found = lineage.of_uri(BASE["uri"])
    assert [(node.level, node.sightings[0].uri) for node in found.descendants] == [(1, second), (1, first), (2, third)]
    assert (found.ancestors, found.is_truncated) == ((), False)


def test_an_output_that_was_copied_elsewhere_and_merged_again_is_the_same_checkpoint(lineage, publish):
    first = publish("x-1", "x-2")
    second = publish("second", base=source("s3://bucket/copied", "x-2", "x-1"))  # under other names even
    found = lineage.of_uri(second)
    assert [sighting.uri for sighting in found.ancestors[0].sightings] == [first, "s3://bucket/copied"]
    assert {node.level: node.sightings[0].uri for node in found.ancestors[1:]} == {1: INSTRUCT["uri"], 2: BASE["uri"]}
    assert uris(lineage.of_uri("s3://bucket/copied").descendants) == [second]


def test_a_stray_shard_is_found_wherever_it_was_seen_under_the_names_it_had(lineage, publish):
    first = publish("same", "one")
    second = publish("two", "same")
    found = lineage.of_digest(sha("same"))
    assert [(match.sighting.uri, match.files) for match in found.matches] == [
        (second, ("model-2.safetensors",)),
        (first, ("model-1.safetensors",)),
    ]
    assert {node.level for node in found.ancestors} == {1}


def test_any_file_of_an_output_and_of_a_source_is_found(lineage, publish):
    uri = publish("x", **{"lineage.json": "record"}, base=source("local://models/b", "b", **{"config.json": "config"}))
    assert lineage.of_digest(sha("record")).matches[0].sighting.uri == uri
    (match,) = lineage.of_digest(sha("config")).matches
    assert (match.sighting.uri, match.sighting.kind) == ("local://models/b", SightingKind.SOURCE)
    assert (match.files, match.sources) == (("config.json",), {})


def test_a_file_that_stands_twice_in_an_output_is_told_by_both_names(lineage, publish):
    publish("twin", "twin")
    (match,) = lineage.of_digest(sha("twin")).matches
    assert match.files == ("model-1.safetensors", "model-2.safetensors")


def test_a_checkpoint_is_found_by_its_own_digest(lineage, publish):
    uri = publish("x-1", "x-2")
    (match,) = lineage.of_digest(digest("x-1", "x-2")).matches
    assert (match.sighting.uri, match.files) == (uri, ())


def test_a_repository_is_found_at_one_commit_or_at_all(lineage, publish):
    other = source(f"hf://acme/tuned@{'1e' * 20}", "tuned-2")
    publish("first")
    publish("second", instruct=other)
    assert [m.sighting.uri for m in lineage.of_uri("hf://acme/tuned").matches] == [other["uri"], INSTRUCT["uri"]]
    assert [m.sighting.uri for m in lineage.of_uri(INSTRUCT["uri"]).matches] == [INSTRUCT["uri"]]
    for unknown in ("hf://acme/tuned@main", "hf://acme/tune", "hf://acme"):
        with pytest.raises(LineageNotFound, match="without any revision"):
            lineage.of_uri(unknown)


def test_a_slash_at_the_end_of_a_folder_is_nothing(lineage, publish):
    publish("x", base=source("s3://models/a", "a"))
    assert lineage.of_uri("s3://models/a/").matches == lineage.of_uri("s3://models/a").matches


def test_an_output_that_was_overwritten_is_told_beside_the_one_that_lies_there(lineage, publish):
    publish("old", uri="file:///outputs/x")
    publish("new", uri="file:///outputs/x")
    found = [match.sighting.checkpoint for match in lineage.of_uri("file:///outputs/x").matches]
    assert found == [digest("new"), digest("old")]


def test_an_output_that_equals_its_base_is_the_base_and_descends_from_nothing(lineage, publish):
    copy = publish("base-1", "base-2")
    other = publish("other", instruct=source("local://models/third", "third"))
    found = lineage.of_uri(copy)
    assert [(match.sighting.copy_of, match.sources["instruct"]) for match in found.matches] == [
        ("base", INSTRUCT["uri"])
    ]
    assert (found.ancestors, uris(found.descendants)) == ((), [other])
    assert lineage.of_uri(INSTRUCT["uri"]).descendants == ()
    (base, *_) = lineage.of_uri(other).ancestors
    assert [sighting.uri for sighting in base.sightings] == [BASE["uri"], copy]


def test_checkpoints_that_were_made_of_each_other_do_not_hang_the_walk(lineage, publish):
    publish("a", base=source("local://m/b", "b"), instruct=None)
    publish("b", base=source("local://m/a", "a"), instruct=None)
    found = lineage.of_digest(sha("a"))
    assert (
        [node.checkpoint for node in found.ancestors]
        == [node.checkpoint for node in found.descendants]
        == [digest("b")]
    )
    assert (len(found.edges), found.is_truncated) == (2, False)


def test_the_same_checkpoint_made_by_many_jobs_is_one_with_an_edge_for_each(lineage, publish):
    places = [publish("same", uri=f"file:///outputs/{number}") for number in range(MAX_SIGHTINGS + 2)]
    found = lineage.of_uri(BASE["uri"])
    (node,) = found.descendants
    assert node.sighting_count == MAX_SIGHTINGS + 2
    assert [sighting.uri for sighting in node.sightings] == places[:MAX_SIGHTINGS]
    assert [edge.output_uri for edge in found.edges] == places[::-1]


def test_depth_bounds_both_ways_and_says_that_there_is_more(lineage, publish):
    publish("middle")
    publish("below", base=source("local://m/middle", "middle"))
    publish("deep", base=source("local://m/below", "below"))
    near = lineage.of_digest(sha("below"), 1)
    assert ([node.level for node in near.ancestors], [node.level for node in near.descendants]) == ([1, 1], [1])
    assert near.is_truncated
    nothing = lineage.of_digest(sha("below"), 0)
    assert (nothing.ancestors, nothing.descendants, nothing.edges, nothing.is_truncated) == ((), (), (), True)
    assert not lineage.of_digest(sha("below"), 2).is_truncated


def test_matches_are_bounded_and_say_so(lineage, publish, monkeypatch):
    monkeypatch.setattr("crossfade_stores.lineage_store.MAX_MATCHES", 3)
    for number in range(4):
        publish(f"x{number}", **{"tokenizer.json": "tokenizer"})
    found = lineage.of_digest(sha("tokenizer"))
    assert ([m.sighting.uri[-2:] for m in found.matches], found.is_truncated) == (["x3", "x2", "x1"], True)


def test_answers_are_the_same_each_time_and_on_any_connection(lineage, publish, engine, clock):
    for number in range(6):
        publish(f"x{number}")
    assert SqlLineageStore(engine, clock).of_uri(BASE["uri"]) == lineage.of_uri(BASE["uri"])


@pytest.mark.parametrize(
    "ask", [lambda lineage: lineage.of_digest("ab" * 32), lambda lineage: lineage.of_uri("s3://a/b")]
)
def test_what_is_not_known_is_an_error_that_says_what_is(lineage, publish, ask):
    publish("x")
    with pytest.raises(LineageNotFound, match="known are outputs that this service published") as caught:
        ask(lineage)
    assert caught.value.details


def test_a_source_is_stored_once_however_often_it_is_read(publish, engine):
    publish("x")
    before = rows_of(engine, "lineage_files")
    publish("y")
    assert len(rows_of(engine, "lineage_files")) == len(before) + 1
    assert len(rows_of(engine, "lineage_sightings")) == 4


def test_a_folder_whose_content_changed_is_two_checkpoints(lineage, publish):
    publish("x")
    publish("y", base=source(BASE["uri"], "changed"))
    found = lineage.of_uri(BASE["uri"])
    assert [match.sighting.checkpoint for match in found.matches] == [digest("changed"), digest("base-1", "base-2")]


def test_publishing_again_changes_nothing(publish, store, spec, engine):
    job = store.create_job(spec)
    publish("x", job=job.id)
    before = [rows_of(engine, table) for table in TABLES]
    publish("y", job=job.id)
    assert [rows_of(engine, table) for table in TABLES] == before


def test_an_output_without_weights_or_of_unknown_sources_is_no_obstacle(lineage, store, spec, engine):
    job = store.create_job(spec)
    store.publish_output(job.id, 0, "file:///x", {"config.json": {"size_bytes": 1, "sha256": sha("c")}})
    assert rows_of(engine, "lineage_sightings") == []
    store.publish_output(job.id, 1, "file:///y", files("y"))
    assert lineage.of_uri("file:///y").ancestors == ()
    store.publish_output(job.id, 2, "file:///z", files("z"), inputs={"base": {"uri": "s3://a/b", "files": {}}})
    assert lineage.of_uri("file:///z").matches[0].sources == {}


def test_lineage_of_an_output_that_was_not_published_is_not_there(store, spec, engine, monkeypatch):
    job = store.create_job(spec)
    monkeypatch.setattr("crossfade_stores.job_store.append_event", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        store.publish_output(job.id, 0, "file:///x", files("x"), inputs={"base": BASE})
    assert [rows_of(engine, table) for table in TABLES] == [[], [], []]


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("change", ["UPDATE {} SET {} = 'forged'", "DELETE FROM {}"])
def test_the_database_itself_refuses_to_change_what_was_written(publish, engine, table, change):
    publish("x")
    before = rows_of(engine, table)
    column = {"lineage_sightings": "uri", "lineage_files": "sha256", "lineage_edges": "role"}[table]
    with pytest.raises(DBAPIError, match="never changed or removed"), engine.begin() as connection:
        connection.execute(text(change.format(table, column)))
    assert rows_of(engine, table) == before != []


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_postgresql_refuses_to_empty_the_tables_at_once(publish, engine):
    publish("x")
    with pytest.raises(DBAPIError, match="never changed or removed"), engine.begin() as connection:
        connection.execute(text(f"TRUNCATE {', '.join(TABLES)}"))


def test_outputs_of_the_same_sources_that_are_published_at_once_wait_for_no_end(
    engine, open_engine, database_url, spec
):
    """Each names its sources in another order: were they stored in that order, PostgreSQL would find a deadlock."""
    stores = [SqlJobStore(open_engine(database_url), FakeClock()) for _ in range(4)]
    jobs = [store.create_job(spec).id for store in stores]
    failures = []
    begin = threading.Barrier(len(stores))

    def publish_all(number, store):
        try:
            for position in range(3):
                sources = [source(f"s3://models/{position}/{n}", f"source-{n}") for n in range(100)]
                inputs = {f"role-{n}": told for n, told in enumerate(sources[:: 1 if number % 2 else -1])}
                begin.wait(30)
                store.publish_output(jobs[number], position, f"file:///{number}/{position}", files("x"), inputs=inputs)
        except Exception as error:
            failures.append(error)
            begin.abort()

    threads = [threading.Thread(target=publish_all, args=each) for each in enumerate(stores)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert len(rows_of(engine, "lineage_sightings")) == 300 + 12
    assert len(rows_of(engine, "lineage_edges")) == 1200


def test_the_number_of_queries_grows_with_the_distance_and_not_with_the_checkpoints(lineage, publish, engine):
    asked = []

    @event.listens_for(engine, "before_cursor_execute")
    def note(connection, cursor, statement, *_):
        asked.append(statement)

    def count(words):
        asked.clear()
        lineage.of_digest(sha(words))
        return sum(statement.startswith("SELECT") for statement in asked)

    publish("x0")
    few = count("base-1")
    for number in range(1, 40):
        publish(f"x{number}")
    assert count("base-1") == few <= 6


def test_a_database_that_is_away_is_an_absence(open_engine, tmp_path):
    away = SqlLineageStore(open_engine(f"sqlite:///{tmp_path}/none.db"), FakeClock())
    with pytest.raises(StoreUnavailable):
        away.of_uri("s3://a/b")


def test_a_uri_may_be_as_long_as_an_outputs(lineage, publish):
    uri = publish("x", uri=f"file:///{'é/' * 2000}x")
    assert lineage.of_uri(uri).matches[0].sighting.uri == uri
