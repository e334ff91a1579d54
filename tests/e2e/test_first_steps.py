"""One platform, one package, one task: the shortest way through everything."""

from support.platform.running_platform import archive, deploy, platform

MANIFEST = """
version: "1"
package: {name: springs, version: 1.0.0}
runtime: {kind: python, version: "3.11"}
functions:
  force:
    handler: springs:force
    inputs: {stiffness: Float, travel: Length}
    outputs: {force: Force}
    resources: {tier: nano, timeout: 5}
"""
CODE = "def force(stiffness, travel):\n    print('pulled')\n    return {'force': stiffness * travel}\n"


def test_a_deployed_function_answers_with_units_converted_and_its_log() -> None:
    with platform() as running, running.client() as client:
        deploy(client, archive(MANIFEST, {"springs.py": CODE}), organization="demo")
        request = {"package": "springs", "function": "force", "inputs": {"stiffness": 2000, "travel": "12 mm"}}
        answer = client.post("/tasks", params={"wait": 30}, json=request)
        assert answer.status_code == 201, answer.text
        task = client.get(f"/tasks/{answer.json()['id']}", params={"wait": 30}).json()
        assert (task["state"], task["result"], task["lane"]) == ("completed", {"force": 24.0}, "high_priority")
        lines = client.get(f"/tasks/{task['id']}/logs").json()["entries"]
        assert [line["text"] for line in lines if line["kind"] == "stdout"] == ["pulled\n"]
