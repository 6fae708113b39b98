"""The table of the admin API is consistent in itself.

Method: read the table.
"""

from faregate.edge.verbs import VERBS


def test_no_two_verbs_share_a_name_or_a_method_and_path() -> None:
    assert len({verb.name for verb in VERBS}) == len(VERBS)
    assert len({(verb.method, verb.path) for verb in VERBS}) == len(VERBS)


def test_what_only_reads_is_a_get_and_what_writes_is_a_post() -> None:
    for verb in VERBS:
        reads = verb.name.startswith(("list", "show", "audit"))
        assert verb.method == ("GET" if reads else "POST"), verb.name


def test_every_verb_says_what_it_does() -> None:
    assert [verb.name for verb in VERBS if not verb.summary] == []
