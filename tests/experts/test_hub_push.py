"""What is pushed is the expert, for rlpeft and PEFT, and what cannot be pushed is told before."""

import json

import pytest
import torch
import yaml
from peft import PeftModel

from rlpeft.adapters.policy import adapter_state, attach_adapter
from rlpeft.errors import HubError
from rlpeft.experts import load_expert, push_to_hub, resolve_expert
from rlpeft.experts.files import CARD_FILE, CONFIG_FILE, TENSOR_FILE
from rlpeft.experts.hub_push import base_licence, check_push
from rlpeft.files import write_jsonl
from rlpeft.models.load import load_base_model
from rlpeft.recipe.run import LoraFamilyAdapter, SvfAdapter

IDS = torch.arange(3, 15).reshape(1, 12)
ADAPTERS = {
    "svf": SvfAdapter(targets=("q_proj",)),
    "lora": LoraFamilyAdapter(type="lora", targets=("q_proj",), rank=2),
}


@pytest.fixture(scope="module")
def trained(make_expert, tiny):
    """A maker of experts on the tiny base, with the logits of the policy they were taken from."""

    def make(kind="svf", **card):
        policy = attach_adapter(load_base_model(tiny.path), ADAPTERS[kind], seed=0)
        with torch.no_grad():
            for parameter in policy.parameters():
                if parameter.requires_grad:
                    parameter += 0.1 * torch.arange(parameter.numel()).reshape(parameter.shape)
            logits = policy(IDS).logits
        state = adapter_state(policy, 1)
        adapter = {"adapter": ADAPTERS[kind].model_dump(), "base_digest": tiny.digest}
        return make_expert(kind, state.tensors, config=state.config, **(adapter | card)), logits

    return make


@pytest.fixture
def writer(hub):
    """The fake of the Hub, for one who may write below `ann` and `org`."""
    hub.login("hf_writer")
    return hub


def refused(*arguments, **options):
    with pytest.raises(HubError) as error:
        push_to_hub(*arguments, **options)
    line = str(error.value)
    assert "\n" not in line
    return line


@pytest.mark.slow
@pytest.mark.parametrize("kind", ADAPTERS)
def test_what_is_pushed_comes_back_with_the_same_bits(trained, writer, tiny, kind):
    folder, logits = trained(kind)
    pushed = push_to_hub(folder, "org/skill")
    found, _ = resolve_expert(f"org/skill@{pushed.commit}")
    assert load_expert(found).card == load_expert(folder).card
    assert (found / CARD_FILE).read_bytes() == (folder / CARD_FILE).read_bytes()
    tensors, own = load_expert(found).tensors, load_expert(folder).tensors
    assert tensors.keys() == own.keys()
    assert all(torch.equal(tensors[name], own[name]) for name in own)
    loaded = PeftModel.from_pretrained(load_base_model(tiny.path), found).eval()
    with torch.no_grad():
        torch.testing.assert_close(loaded(IDS).logits, logits)


def test_a_push_says_commit_files_and_address(trained, writer):
    pushed = push_to_hub(trained()[0], "org/skill")
    repo = writer.repos["org/skill"]
    assert pushed.commit == repo.branches["main"]
    assert pushed.url == f"{writer.endpoint}/org/skill/commit/{pushed.commit}"
    assert {CARD_FILE, CONFIG_FILE, TENSOR_FILE, "README.md", "export.json"} == pushed.files.keys()
    assert pushed.files == {name: len(b) for name, b in repo.commits[pushed.commit].items()}
    assert not repo.private


def test_nothing_that_is_pushed_names_a_path_of_this_machine(trained, writer, tiny):
    pushed = push_to_hub(trained()[0], "org/skill")
    for name, content in writer.repos["org/skill"].commits[pushed.commit].items():
        assert str(tiny.path).encode() not in content, name
    assert pushed.notes[1:] == []


def test_a_path_on_the_card_is_told_to_its_author(trained, writer):
    folder, _ = trained(task={"name": "jsonl", "path": "/home/ann/secret/rows.jsonl"})
    *_, note = push_to_hub(folder, "org/skill").notes
    assert note == "its card.json names '/home/ann/secret/rows.jsonl' of this machine"
    readme = writer.repos["org/skill"].commits[writer.repos["org/skill"].branches["main"]]
    assert b"secret" not in readme["README.md"]


@pytest.mark.slow
def test_a_second_push_is_a_second_commit(trained, writer):
    first = push_to_hub(trained()[0], "org/skill")
    second = push_to_hub(trained(seed=7)[0], "org/skill")
    assert first.commit != second.commit
    for commit, seed in ((first.commit, 0), (second.commit, 7)):
        assert load_expert(resolve_expert(f"org/skill@{commit}")[0]).card.seed == seed


@pytest.mark.slow
def test_a_push_to_a_branch_leaves_main_alone(trained, writer):
    first = push_to_hub(trained()[0], "org/skill")
    push_to_hub(trained(seed=7)[0], "org/skill", revision="more")
    assert writer.repos["org/skill"].branches["main"] == first.commit
    assert load_expert(resolve_expert("org/skill@more")[0]).card.seed == 7


def test_a_private_push_is_private(trained, writer):
    push_to_hub(trained()[0], "org/skill", private=True)
    assert writer.repos["org/skill"].private


def test_a_private_push_is_refused_by_a_public_repository(trained, writer):
    repo = writer.repo("org/skill")
    before = dict(repo.branches)
    assert "--private must name a new or a private" in refused(
        trained()[0], "org/skill", private=True
    )
    assert repo.branches == before


def test_a_base_id_is_what_the_others_read(trained, writer):
    writer.repo("owner/base", {}, licence="mit")
    pushed = push_to_hub(trained()[0], "org/skill", base_id="owner/base")
    files = writer.repos["org/skill"].commits[pushed.commit]
    assert json.loads(files[CONFIG_FILE])["base_model_name_or_path"] == "owner/base"
    assert json.loads(files[CARD_FILE])["base_model"] == "owner/base"
    front = yaml.safe_load(files["README.md"].decode().split("---\n")[1])
    assert front == {
        "library_name": "peft",
        "tags": ["rlpeft", "svf"],
        "base_model": "owner/base",
        "license": "mit",
    }


def test_a_licence_that_the_hub_does_not_tell_is_not_known(trained, writer):
    pushed = push_to_hub(trained()[0], "org/skill", base_id="owner/absent")
    assert "base model 'owner/absent' is not at" in " ".join(pushed.notes)
    readme = writer.repos["org/skill"].commits[pushed.commit]["README.md"].decode()
    assert "| licence of the base | not known |" in readme
    assert "license:" not in readme


@pytest.mark.parametrize("said", ["mit\ntags: [x]", "[mit]", "a" * 99, "MIT License"])
def test_a_licence_that_is_none_is_not_taken(writer, tmp_path, said):
    writer.repo("owner/base", {}, licence=said)
    assert base_licence("owner/base", tmp_path) is None


def test_a_licence_is_read_in_the_folder_of_the_base(tmp_path):
    (tmp_path / "README.md").write_text("---\nlicense: apache-2.0\n---\n# a base\n")
    assert base_licence("base", tmp_path) == "apache-2.0"


def test_the_curve_of_its_run_is_in_the_readme(trained, writer):
    folder, _ = trained()
    rows = [{"step": 4, "reward": 0.25, "eval_accuracy": 0.5, "eval_accuracy_low": 0.375}]
    write_jsonl(folder.parent / "metrics.jsonl", rows)
    pushed = push_to_hub(folder, "org/skill")
    readme = writer.repos["org/skill"].commits[pushed.commit]["README.md"].decode()
    assert "| 4 | 0.500 | 0.375 | - | 0.250 |" in readme


def test_a_repository_with_a_pickle_is_told_after_the_push(trained, writer):
    writer.repo("org/skill", {"old.bin": b"x"})
    assert "'old.bin', which may run code" in " ".join(push_to_hub(trained()[0], "org/skill").notes)


def test_a_file_over_the_limit_is_refused_before_anything_is_sent(trained, writer):
    history = [{"step": step, "note": "x" * 1000} for step in range(17_000)]
    mixture = {
        "parents": {},
        "coefficients": (),
        "matrices": (),
        "normalise": False,
        "search": {"history": history},
    }
    line = refused(trained(mixture=mixture)[0], "org/skill")
    assert "card.json of expert" in line
    assert "must have at most 16,777,216 bytes" in line
    assert {request for request in writer.requests if request.startswith("POST")} == set()


def test_a_hub_that_takes_no_more_is_told(trained, writer):
    writer.full = True
    assert "push to 'org/skill' is too large for the Hub" in refused(trained()[0], "org/skill")


@pytest.mark.parametrize("repository", ["skill", "org/skill/more", "../skill", "org/a b", ""])
def test_what_is_no_id_is_refused_before_anything_is_asked(hub, repository):
    with pytest.raises(HubError, match="a push must name ORG/NAME on the Hub"):
        check_push(repository)
    assert hub.requests == []


@pytest.mark.parametrize("revision", ["a b", "@", "0" * 40])
def test_what_is_no_branch_is_refused(hub, revision):
    with pytest.raises(HubError, match="--revision must name a branch"):
        check_push("org/skill", revision)


def test_without_a_token_one_line_says_so(hub):
    with pytest.raises(HubError, match="needs a token that may write: `hf auth login`"):
        check_push("org/skill")


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("hf_reader", "the one set here may only read"),
        ("hf_stranger", r"token's owner \(eve\), 'org' is none of them"),
        ("hf_expired", r"refused by the Hub \(status 401\): the token set here"),
    ],
)
def test_a_token_without_the_right_is_told_before_anything_is_made(hub, token, said):
    hub.login(token)
    with pytest.raises(HubError, match=said):
        check_push("org/skill")


def test_a_push_without_a_network_is_told(writer):
    writer.set_offline(True)
    with pytest.raises(HubError, match="needs the Hub, and HF_HUB_OFFLINE is set"):
        check_push("org/skill")


def test_a_hub_that_is_down_is_told(writer):
    writer.down = True
    with pytest.raises(HubError, match=r"does not answer \(status 503\)"):
        check_push("org/skill")
