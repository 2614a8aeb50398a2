"""What corrections move between an archive and its edge: headers, and never a frame."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

from bench.rejection import note
from tests.integration.edge.nodes import Node, edge_node, origin_node, until_followed, until_shows
from tests.syncing import STUDY_UID, ct_series, instance_uid

OTHER = "1.2.826.0.1.3680043.2.1125.2"
NOTE = "1.2.826.0.1.3680043.2.1125.9"


async def correct(origin: Node, action: str, **more: Any) -> dict[str, Any]:
    answer = await origin.client.post("/api/corrections", json={"action": action, "reason": "mixed up", **more})
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def undo(origin: Node, made: dict[str, Any]) -> None:
    answer = await origin.client.post(f"/api/corrections/{made['id']}/undo", json={"reason": "it was right"})
    assert answer.status_code == 200, answer.text


async def instances(node: Node, study: str) -> set[str]:
    return {str(row["00080018"]["Value"][0]) for row in await node.metadata(study)}  # type: ignore[index]


async def until_holds(node: Node, study: str, uids: set[str]) -> None:
    async with asyncio.timeout(60):
        while await instances(node, study) != uids:
            await asyncio.sleep(0.05)


async def test_no_correction_moves_a_frame_and_every_undoing_is_exact(tmp_path: Path) -> None:
    files = ct_series(12) + ct_series(8, series=2, seed=2)
    uids = [instance_uid(file) for file in files]
    select = {"study": STUDY_UID}
    async with origin_node(tmp_path / "origin") as origin, edge_node(tmp_path / "edge", origin.url) as edge:

        async def check_files() -> None:
            for number, file in enumerate(files):
                series = f"{STUDY_UID}.{1 if number < 12 else 2}"
                assert await edge.file(STUDY_UID, series, uids[number]) == file

        await origin.store(files)
        await until_shows(edge, STUDY_UID, 20, "Doe^Jane")
        await check_files()
        moved, moved_bytes = origin.sent(), origin.sent_bytes()

        made = await correct(origin, "attributes", select=select, set={"PatientName": "Doe^Janet"})
        await until_shows(edge, STUDY_UID, 20, "Doe^Janet")
        assert origin.sent() - moved == Counter(delta=1)
        assert (origin.sent_bytes() - moved_bytes).total() < 500
        await undo(origin, made)
        await until_shows(edge, STUDY_UID, 20, "Doe^Jane")
        await check_files()

        into = {"id": "PID-9", "issuer": "HOSPITAL", "attributes": {"PatientName": "Roe^Richard"}}
        made = await correct(origin, "merge", **{"from": {"id": "PID-1"}, "into": into})
        await until_shows(edge, STUDY_UID, 20, "Roe^Richard")
        await undo(origin, made)
        await until_shows(edge, STUDY_UID, 20, "Doe^Jane")

        made = await correct(origin, "move", select=select | {"series": f"{STUDY_UID}.2"}, to={"study": OTHER})
        await until_shows(edge, OTHER, 8, "Doe^Jane")
        await until_followed(edge, origin)
        assert await instances(edge, STUDY_UID) == set(uids[:12])
        assert (await edge.file(OTHER, f"{STUDY_UID}.2", uids[12])).endswith(files[12][-512:])  # its pixels
        await undo(origin, made)
        await until_followed(edge, origin)
        await check_files()

        made = await correct(origin, "delete", select=select | {"instances": uids[:3]})
        await until_followed(edge, origin)
        assert await instances(edge, STUDY_UID) == set(uids[3:])
        await undo(origin, made)
        await until_followed(edge, origin)
        await check_files()

        made = await correct(origin, "delete", select=select)
        await until_holds(edge, STUDY_UID, set())
        await undo(origin, made)
        await until_holds(edge, STUDY_UID, set(uids))
        await check_files()

        made = await correct(origin, "move", select=select, to={"study": OTHER})
        await until_holds(edge, OTHER, set(uids))
        await until_holds(edge, STUDY_UID, set())
        await edge.file(OTHER, f"{STUDY_UID}.1", uids[0])
        await undo(origin, made)
        await until_holds(edge, STUDY_UID, set(uids))
        await check_files()

        await edge.store([note(files[:3], "113001", NOTE)])
        await until_holds(edge, STUDY_UID, set(uids[3:]))
        (made,) = (await origin.client.get("/api/corrections", params={"limit": 1})).json()["corrections"]
        assert (made["action"], made["reason"]) == ("reject", "Rejected for Quality Reasons")
        await undo(origin, made)
        await until_holds(edge, STUDY_UID, {*uids, NOTE})
        await check_files()

        assert set(origin.sent() - moved) <= {"delta", "manifest", "header"}
        assert (origin.sent() - moved)["frame"] == 0
        assert origin.sent_bytes()["frame"] == 20 * 512


async def test_what_is_asked_wrongly_is_said_to_be_wrong(tmp_path: Path) -> None:
    async with origin_node(tmp_path / "origin") as origin:
        await origin.store(ct_series(2))
        ask = {"action": "attributes", "reason": "mixed up", "select": {"study": STUDY_UID}, "set": {"PatientSex": "M"}}
        plan = await origin.client.post("/api/corrections?dry-run=true", json=ask)
        assert plan.json() == {"action": "attributes", "instances": 2, "studies": [STUDY_UID]}
        assert (await origin.client.get("/api/corrections")).json() == {"corrections": []}
        for wrong, status in (
            ({"set": {"Rows": 3}}, 400),
            ({"reason": ""}, 400),
            ({"select": {"study": "1.2"}}, 404),
            ({"set": {"PatientSex": "F"}}, 409),
        ):
            assert (await origin.client.post("/api/corrections", json=ask | wrong)).status_code == status
        made = (await origin.client.post("/api/corrections", json=ask)).json()
        assert (made["by"], made["reason"], made["instances"]) == ("local_admin", "mixed up", 2)
        listed = (await origin.client.get("/api/corrections", params={"study": STUDY_UID, "limit": 5})).json()
        assert listed["corrections"] == [made]
        shown = (await origin.client.get(f"/api/corrections/{made['id']}")).json()
        assert {(one["before"], one["after"]) for one in shown["changed"]} == {(1, 2)}
        uid = shown["changed"][0]["instance"]
        versions = (await origin.client.get(f"/api/instances/{uid}/versions")).json()["versions"]
        assert [one["current"] for one in versions] == [False, True]
        why = {"id": made["id"], "action": "attributes", "by": "local_admin", "reason": "mixed up"}
        assert [one["correction"] for one in versions] == [None, why]
        path = f"/api/corrections/{made['id']}"
        assert (await origin.client.post(f"{path}/undo", json={})).status_code == 400
        assert (await origin.client.get("/api/corrections/x")).status_code == 400
        assert (await origin.client.get("/api/corrections/9999")).status_code == 404
