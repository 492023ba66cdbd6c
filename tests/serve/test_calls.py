"""Every call of the service on a gallery of colours, whose answers are worked by hand."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from colours import BLUE, GREEN, RED
from serving import classes, detail, enroll, fill, photo, service


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """For calls that change nothing."""
    with service(tmp_path_factory.mktemp("read")) as found:
        fill(found)
        yield found


@pytest.fixture
def changed(tmp_path):
    """For calls that do."""
    with service(tmp_path) as found:
        fill(found)
        yield found


def test_embed(client):
    found = client.post("/v1/embed", files=[photo(RED), photo(BLUE)]).json()
    assert (found["fingerprint"], found["dim"]) == ("c0ffee", 3)
    assert np.argmax(found["vectors"], axis=1).tolist() == [0, 2]


def test_search_by_image_and_by_id(client):
    hits = client.post("/v1/search", files=[photo(GREEN, 1)], data={"k": 4}).json()["hits"]
    assert [hit["label"] for hit in hits] == ["green", "green", "green", hits[3]["label"]]
    assert hits[0]["similarity"] == pytest.approx(1, abs=1e-6)
    assert all(hit["thumbnail"] for hit in hits)
    more = client.post("/v1/search", data={"id": hits[0]["id"], "k": 2}).json()["hits"]
    assert {hit["label"] for hit in more} == {"green"}
    assert hits[0]["id"] not in {hit["id"] for hit in more}


def test_search_with_conditions(client):
    hits = client.post("/v1/search", files=[photo(GREEN)], data={"k": 50, "where": ["label in red,blue"]}).json()[
        "hits"
    ]
    assert {hit["label"] for hit in hits} == {"red", "blue"}
    answer = client.post("/v1/search", files=[photo(GREEN)], data={"where": "label ~ red"})
    assert "is not a condition" in detail(answer, 400)


def test_identify_names_a_class_or_answers_unknown(changed):
    for label, colour in (("yellow", (200, 200, 20)), ("orange", (200, 120, 20))):
        enroll(changed, label, *(photo(colour, seed) for seed in range(3)), gate="off")
    calibrated = changed.post("/v1/calibrate", json={"far": 0.2})
    assert calibrated.status_code == 200, calibrated.text
    found = changed.post("/v1/identify", files=[photo(BLUE, 9), photo((200, 20, 200), 9)]).json()["answers"]
    assert (found[0]["label"], found[0]["best"]) == ("blue", "blue")
    assert found[1]["label"] is None
    assert "below the threshold" in found[1]["why"]
    assert found[0]["threshold"] == pytest.approx(calibrated.json()["threshold"])
    assert [n["label"] for n in found[0]["neighbours"][:3]] == ["blue"] * 3
    assert changed.post("/v1/search", data={"id": found[0]["neighbours"][0]["id"]}).status_code == 200


def test_identify_at_a_rate_that_so_few_images_cannot_promise(client):
    assert "cannot promise" in detail(client.post("/v1/identify", files=[photo(RED)], data={"far": 0.001}), 400)


def test_verify_an_image_against_a_class(client):
    found = client.post("/v1/verify", files=[photo(RED, 7)], data={"label": "red", "far": 0.2}).json()
    assert found["same"] is True
    assert found["far"] == 0.2
    assert client.post("/v1/verify", files=[photo(RED, 7)], data={"label": "blue", "far": 0.2}).json()["same"] is False


def test_verify_two_images(client):
    found = client.post("/v1/verify", files=[photo(RED, 7), photo(RED, 8)]).json()
    assert (found["same"], found["threshold"], found["threshold_interval"], found["pairs"]) == (
        True,
        0.9,
        [0.85, 0.93],
        60,
    )
    assert "label" not in found
    assert client.post("/v1/verify", files=[photo(RED, 7), photo(BLUE, 8)]).json()["same"] is False


@pytest.mark.parametrize(
    ("photos", "data"), [(1, {}), (2, {"label": "red"}), (3, {})], ids=["one image alone", "two and a class", "three"]
)
def test_verify_takes_two_things(client, photos, data):
    answer = client.post("/v1/verify", files=[photo(RED, i) for i in range(photos)], data=data)
    assert "one image and a label, or two images" in detail(answer, 400)


def test_enroll_with_ids_and_metadata(changed):
    answer = enroll(
        changed, "amber", photo((250, 190, 0), 1), photo((250, 190, 0), 2),
        id=["a1", "a2"], metadata=[json.dumps({"year": 2020}), json.dumps({"year": 2021})], gate="off",
    )  # fmt: skip
    assert answer.json() == {"added": ["a1", "a2"], "unchanged": [], "findings": []}
    hits = changed.post("/v1/search", data={"id": "a1", "where": "year>2020"}).json()["hits"]
    assert [(hit["id"], hit["metadata"]) for hit in hits] == [("a2", {"year": 2021})]


def test_enroll_again_changes_nothing(changed):
    answer = enroll(changed, "red", photo(RED, 0)).json()
    assert (answer["added"], len(answer["unchanged"])) == ([], 1)


def test_the_gate_says_which_image_and_why(changed):
    answer = enroll(changed, "red", photo(RED, 5), photo(BLUE, 5), gate="strict").json()
    assert len(answer["added"]) == 1
    (finding,) = answer["findings"]
    assert (finding["image"], finding["enrolled"]) == (1, False)
    assert "nearer to class blue" in finding["reason"]


def test_an_image_that_cannot_be_decoded_is_named_and_the_others_are_enrolled(changed):
    broken = photo(GREEN, 8)[1][1][:900]
    answer = enroll(changed, "green", photo(GREEN, 7), ("image", ("a.png", broken, "image/png"))).json()
    assert len(answer["added"]) == 1
    (finding,) = answer["findings"]
    assert (finding["image"], finding["enrolled"]) == (1, False)
    assert finding["reason"].startswith("cannot read image 2 as an image")


def test_feedback_is_honoured(changed):
    before = changed.post("/v1/identify", files=[photo(RED, 9)]).json()["answers"][0]
    assert before["label"] == "red"
    assert changed.post("/v1/feedback", files=[photo(RED, 9)], data={"label": "red"}).json() == {"rejected": "red"}
    assert changed.post("/v1/identify", files=[photo(RED, 9)]).json()["answers"][0]["label"] != "red"


ONE, TWO = [photo(RED, 9)], [photo(RED, 9), photo(BLUE, 9)]
NO_CLASS, NO_ID = "there is no class 'pink' in the gallery", "there is no id 'none' in the gallery"
SHARED = "label: give one for all images or one each; got {} for {} images"


@pytest.mark.parametrize(
    ("call", "files", "data", "status", "sentence"),
    [
        ("feedback", ONE, {}, 400, "say what the image is not: either a label or an id"),
        ("feedback", ONE, {"label": "red", "id": "red0"}, 400, "say what the image is not: either a label or an id"),
        ("feedback", ONE, {"label": "pink"}, 404, NO_CLASS),
        ("feedback", ONE, {"id": "none"}, 404, NO_ID),
        ("search", [], {}, 400, "search takes either an image or an id"),
        ("search", ONE, {"id": "none"}, 400, "search takes either an image or an id"),
        ("search", [], {"id": "none"}, 404, NO_ID),
        ("verify", ONE, {}, 400, "verify takes one image and a label, or two images"),
        ("verify", TWO, {"label": "red"}, 400, "verify takes one image and a label, or two images"),
        ("verify", [*TWO, *ONE], {}, 400, "verify takes one image and a label, or two images"),
        ("verify", ONE, {"label": "pink"}, 404, NO_CLASS),
        ("enroll", [*TWO, *ONE], {"label": ["red", "blue"]}, 422, SHARED.format(2, 3)),
        ("enroll", ONE, {"label": ["red", "blue"]}, 422, SHARED.format(2, 1)),
        ("enroll", ONE, {"label": " "}, 422, "label: "),
        ("enroll", TWO, {"label": "red", "id": ["a"]}, 422, "id: give none or one for each image; got 1 for 2 images"),
        ("enroll", ONE, {"label": "red", "id": [" "]}, 422, "id: "),
        ("enroll", TWO, {"label": "red", "metadata": ["{}"]}, 422, "metadata: give none or one for each image; got 1"),
        ("enroll", ONE, {"label": "red", "metadata": ["{"]}, 422, "metadata"),
        ("enroll", ONE, {"label": "red", "metadata": ['{"a": NaN}']}, 422, "metadata: no NaN"),
        ("enroll", ONE, {"label": "red", "metadata": ['"' + "a" * 16_383 + '"']}, 422, "got 16,385"),
        ("embed", [("image", ("a.png", b"", "image/png"))], {}, 400, "image 1 is empty"),
        ("embed", [*ONE, ("image", ("a.png", b"text", "image/png"))], {}, 415, "image 2 is no image that can be read"),
    ],
)  # fmt: skip
def test_a_wrong_call_is_one_sentence_and_changes_nothing(client, call, files, data, status, sentence):
    before = client.get("/v1/info").json()
    assert sentence in detail(client.post(f"/v1/{call}", files=files, data=data), status)
    assert client.get("/v1/info").json() == before


def test_metadata_may_be_as_long_as_the_bound_says(changed):
    text = json.dumps({"a": "x" * (16_384 - 9)})
    assert len(text) == 16_384
    assert len(enroll(changed, "red", photo(RED, 77), metadata=[text], gate="off").json()["added"]) == 1


def test_classes_by_pages_and_by_part_of_the_name(client):
    page = client.get("/v1/classes", params={"limit": 2}).json()
    assert [line["label"] for line in page["classes"]] == ["blue", "green"]
    assert page["total"] == 3
    rest = client.get("/v1/classes", params={"limit": 2, "cursor": page["next"]}).json()
    assert ([line["label"] for line in rest["classes"]], rest["next"]) == (["red"], None)
    assert classes(client, q="RE") == {"green": 3, "red": 3}
    assert client.get("/v1/images/thumbnail", params={"id": page["classes"][0]["example"]}).status_code == 200


def test_images_by_pages_and_by_class(client):
    seen, cursor = [], ""
    while cursor is not None:
        page = client.get("/v1/images", params={"limit": 4, "cursor": cursor}).json()
        seen += [line["id"] for line in page["images"]]
        cursor = page["next"]
    assert len(seen) == len(set(seen)) == page["total"] == 9
    blue = client.get("/v1/images", params={"label": "blue"}).json()
    assert ([line["label"] for line in blue["images"]], blue["total"]) == (["blue"] * 3, 3)


@pytest.mark.parametrize("cursor", ["x", "AAAA", "bnVsbA==", "-1", "W10=", "é"])
@pytest.mark.parametrize("call", ["classes", "images"])
def test_a_cursor_that_is_none(client, call, cursor):
    assert "the cursor is not from this service" in detail(client.get(f"/v1/{call}", params={"cursor": cursor}), 400)


def test_a_thumbnail_is_not_sent_again(client):
    id = client.get("/v1/images").json()["images"][0]["id"]
    answer = client.get("/v1/images/thumbnail", params={"id": id})
    assert Image.open(io.BytesIO(answer.content)).size == (40, 30)
    again = client.get("/v1/images/thumbnail", params={"id": id}, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert "no id" in detail(client.get("/v1/images/thumbnail", params={"id": "none"}), 404)


def test_corrections_and_undo(changed):
    assert changed.post("/v1/classes/rename", json={"label": "red", "to": "scarlet"}).json() == {"moved": 3}
    assert changed.post("/v1/classes/merge", json={"label": "scarlet", "into": "blue"}).json() == {"moved": 3}
    assert classes(changed) == {"blue": 6, "green": 3}
    assert changed.post("/v1/undo").json() == {"undone": "merge"}
    assert changed.post("/v1/undo").json() == {"undone": "rename"}
    assert changed.post("/v1/classes/remove", json={"label": "green"}).json() == {"removed": 3}
    assert classes(changed) == {"blue": 3, "red": 3}
    assert changed.post("/v1/undo").json() == {"undone": "remove"}
    ids = [line["id"] for line in changed.get("/v1/images", params={"label": "green"}).json()["images"]]
    assert changed.post("/v1/images/move", json={"ids": ids[:1], "label": "lime"}).json() == {"moved": 1}
    assert changed.post("/v1/images/remove", json={"ids": ids[1:]}).json() == {"removed": 2}
    assert classes(changed) == {"blue": 3, "lime": 1, "red": 3}


def test_a_class_is_forgotten_for_good(changed, tmp_path):
    assert changed.post("/v1/classes/forget", json={"label": "green"}).json() == {"removed": 3, "erased": True}
    assert classes(changed) == {"blue": 3, "red": 3}
    assert "nothing to undo" in detail(changed.post("/v1/undo"), 409)
    assert b"green" not in b"".join(path.read_bytes() for path in tmp_path.glob("colours.gallery*"))


def test_wrong_corrections(changed):
    assert "there is a class 'blue' already" in detail(
        changed.post("/v1/classes/rename", json={"label": "red", "to": "blue"}), 409
    )
    for call, body in (
        ("rename", {"label": "pink", "to": "x"}),
        ("merge", {"label": "pink", "into": "red"}),
        ("merge", {"label": "red", "into": "pink"}),
        ("remove", {"label": "pink"}),
        ("forget", {"label": "pink"}),
    ):
        assert (
            detail(changed.post(f"/v1/classes/{call}", json=body), 404)
            == "there is no class 'pink' in the gallery colours"
        )
    assert "no id 'x'" in detail(changed.post("/v1/images/remove", json={"ids": ["x"]}), 404)
    assert "cannot be merged into itself" in detail(
        changed.post("/v1/classes/merge", json={"label": "red", "into": "red"}), 400
    )
    assert classes(changed) == {"blue": 3, "green": 3, "red": 3}


@pytest.mark.parametrize(
    ("call", "body"),
    [
        ("rename", {"label": "red"}),
        ("rename", {"label": "red", "to": ""}),
        ("rename", {"label": "red", "to": "  "}),
        ("rename", {"label": "red", "to": "a\x00b"}),
        ("rename", {"label": "red", "to": "a\x1b[2J"}),
        ("rename", {"label": "red", "to": "a" * 201}),
        ("rename", {"label": 3, "to": "x"}),
        ("rename", {"label": "red", "to": "x", "more": 1}),
        ("forget", []),
        ("remove", None),
    ],
)
def test_bodies_of_another_form(client, call, body):
    detail(client.post(f"/v1/classes/{call}", json=body), 422)
    assert classes(client) == {"blue": 3, "green": 3, "red": 3}


def test_vacuum_audit_info_map_metrics_health(changed):
    assert changed.post("/v1/vacuum").json() == {"erased": True}
    verbs = [line["verb"] for line in changed.get("/v1/audit").json()["audit"]]
    assert verbs == ["vacuum", "enroll", "enroll", "enroll"]
    info = changed.get("/v1/info").json()
    assert (info["gallery"], info["items"], info["classes"], info["promise"]) == ("colours", 9, 3, None)
    assert info["pair_threshold"]["value"] == 0.9
    map_ = changed.get("/v1/map").json()
    assert (map_["shown"], map_["total"], map_["classes"], len(map_["ids"])) == (9, 9, ["blue", "green", "red"], 9)
    spots = {k: np.mean([p[:2] for p in map_["points"] if p[2] == k], axis=0) for k in range(3)}
    assert min(np.linalg.norm(spots[a] - spots[b]) for a, b in ((0, 1), (0, 2), (1, 2))) > 0.5
    assert np.abs(np.asarray(map_["points"])[:, :2]).max() == 1
    text = changed.get("/v1/metrics").text
    assert 'likewise_gallery_items{gallery="colours"} 9.0' in text
    assert 'likewise_requests_total{method="POST",route="/v1/enroll",status="200"} 3.0' in text
    assert changed.get("/v1/health").json() == {
        "status": "ready",
        "galleries": {"colours": {"ready": True, "detail": ""}},
    }


def test_an_empty_gallery_answers(tmp_path):
    with service(tmp_path) as client:
        assert client.post("/v1/search", files=[photo(RED)]).json() == {"hits": []}
        answer = client.post("/v1/identify", files=[photo(RED)]).json()["answers"][0]
        assert (answer["label"], answer["similarity"]) == (None, None)
        assert client.get("/v1/map").json()["points"] == []
        assert client.get("/v1/classes").json() == {"classes": [], "next": None, "total": 0}
        assert "two are needed" in detail(client.post("/v1/calibrate", json={"far": 0.1}), 400)


def test_two_galleries_by_name(tmp_path):
    with service(tmp_path, "one", "two") as client:
        assert enroll(client, "red", photo(RED)).status_code == 200
        assert client.post("/v1/enroll?gallery=two", files=[photo(BLUE)], data={"label": "b"}).status_code == 200
        assert classes(client) == {"red": 1}
        assert classes(client, gallery="two") == {"b": 1}
        found = client.get("/v1/galleries").json()
        assert found["galleries"] == [
            {"name": "one", "items": 1, "classes": 1},
            {"name": "two", "items": 1, "classes": 1},
        ]
        assert "there are one, two" in detail(client.get("/v1/info?gallery=three"), 404)


def test_a_private_gallery_stores_no_image(tmp_path):
    with service(tmp_path, private=True, thumbnails=False) as client:
        id = enroll(client, "red", photo(RED)).json()["added"][0]
        assert client.get("/v1/images").json()["images"][0]["thumbnail"] is False
        assert "no thumbnail" in detail(client.get("/v1/images/thumbnail", params={"id": id}), 404)


def test_no_path_of_the_server_is_in_an_answer(changed, tmp_path):
    for answer in (
        changed.post("/v1/verify", files=[photo(RED)], data={"label": "red"}),
        changed.post("/v1/identify", files=[("image", ("x", photo(RED)[1][1][:400], "image/png"))]),
        changed.post("/v1/feedback", files=[photo(RED)], data={"id": "none"}),
        changed.get("/v1/info"),
    ):
        assert str(tmp_path) not in answer.text
        assert "/tmp" not in answer.text
