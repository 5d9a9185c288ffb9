"""Run Command of Systems Manager, which moto ends at once and always well.

Settings under "commands" at /_sim, by instance id:

{"commands": {"i-0123": {"unknown": true,          the instance is not managed: InvalidInstanceId
                         "invisible_seconds": 1,   GetCommandInvocation says InvocationDoesNotExist for so long
                         "seconds": 2,             it is InProgress for so long
                         "run": true,              its commands really run, on this machine, by /bin/sh
                         "status": "Failed", "exit_code": 3, "output": "…", "errors": "…"}}}   else how it ends
"""

import json
import subprocess
import threading
import time

GRACE = 0.05


class Commands:
    """The commands that were sent."""

    def __init__(self):
        self.lock = threading.Lock()
        self.sent = {}

    def refuse(self, target, request, settings):
        """The code and message of a refusal; None: go on."""
        if target.endswith(".SendCommand"):
            for instance in request.get("InstanceIds", []):
                if settings(instance).get("unknown"):
                    return "InvalidInstanceId", f"Instances [[{instance}]] not in a valid state for account 123456789012"
        if target.endswith(".GetCommandInvocation"):
            command = self.sent.get(request.get("CommandId"))
            wanted = settings(request.get("InstanceId"))
            if command and time.monotonic() - command["at"] < wanted.get("invisible_seconds", 0):
                return "InvocationDoesNotExist", ""
        return None

    def note(self, request, body, settings):
        """Remembers a command that moto has taken, and runs it where the tests want that."""
        command = {"at": time.monotonic(), "request": request, "ended": {}}
        with self.lock:
            self.sent[json.loads(body)["Command"]["CommandId"]] = command
        for instance in request.get("InstanceIds", []):
            if settings(instance).get("run"):
                threading.Thread(target=self._run, args=(command, instance), daemon=True).start()

    def _run(self, command, instance):
        parameters = command["request"].get("Parameters", {})
        script = "\n".join(parameters.get("commands", []))
        timeout = float(parameters.get("executionTimeout", ["3600"])[0])
        try:
            done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, timeout=timeout, check=False)
            ended = {"status": "Failed" if done.returncode else "Success", "exit_code": done.returncode,
                     "output": done.stdout, "errors": done.stderr}
        except subprocess.TimeoutExpired:
            ended = {"status": "TimedOut", "exit_code": -1}
        with self.lock:
            command["ended"][instance] = ended

    def invocation(self, request, body, settings):
        """moto's answer to GetCommandInvocation, put right."""
        instance = request.get("InstanceId")
        with self.lock:
            command = self.sent.get(request.get("CommandId"))
        if not command:
            return body
        wanted = settings(instance)
        outcome = command["ended"].get(instance) if wanted.get("run") else {"status": "Success", **wanted}
        if outcome is None or time.monotonic() - command["at"] < wanted.get("seconds", 0) + GRACE:
            outcome = {"status": "InProgress", "exit_code": -1}
        answer = json.loads(body)
        answer["Status"] = answer["StatusDetails"] = outcome["status"]
        answer["ResponseCode"] = outcome.get("exit_code", 0 if outcome["status"] == "Success" else -1)
        answer["StandardOutputContent"] = outcome.get("output", "")[:24000]
        answer["StandardErrorContent"] = outcome.get("errors", "")[:8000]
        return json.dumps(answer).encode()
