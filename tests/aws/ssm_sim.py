"""Run Command of Systems Manager, which moto ends at once and always well.

Settings under "commands" at /_sim, by instance id:

{"commands": {"i-0123": {"unknown": true,          the instance is not managed: InvalidInstanceId
                         "invisible_seconds": 1,   ListCommandInvocations does not show it for so long
                         "seconds": 2,             it is InProgress for so long
                         "run": true,              its commands really run, on this machine, by /bin/sh: those of AWS-RunShellScript, and the
                                                   parameter "script" of any other document
                         "steps_before": 1,        its document has so many steps more, before the last
                         "status": "Failed", "exit_code": 3, "output": "…", "errors": "…"}}}   else how it ends
"""

import json
import subprocess
import threading
import time

GRACE = 0.05
STEP_STATUS = ("Pending", "InProgress", "Success", "TimedOut", "Cancelled", "Failed")


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
        script = "\n".join(parameters.get("commands", parameters.get("script", [])))
        timeout = float(parameters.get("executionTimeout", ["3600"])[0])
        try:
            done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, timeout=timeout, check=False)
            ended = {"status": "Failed" if done.returncode else "Success", "exit_code": done.returncode,
                     "output": done.stdout, "errors": done.stderr}
        except subprocess.TimeoutExpired:
            ended = {"status": "TimedOut", "exit_code": -1}
        with self.lock:
            command["ended"][instance] = ended

    def invocations(self, request, settings):
        """The answer to ListCommandInvocations with details, which moto lacks: one command on one instance."""
        instance, command_id = request.get("InstanceId"), request.get("CommandId")
        with self.lock:
            command = self.sent.get(command_id)
        wanted = settings(instance)
        if not command or time.monotonic() - command["at"] < wanted.get("invisible_seconds", 0):
            return {"CommandInvocations": []}
        outcome = command["ended"].get(instance) if wanted.get("run") else {"status": "Success", **wanted}
        if outcome is None or time.monotonic() - command["at"] < wanted.get("seconds", 0) + GRACE:
            outcome = {"status": "InProgress", "exit_code": -1}
        output, errors = outcome.get("output", ""), outcome.get("errors", "")
        written = output + ("\n----------ERROR-------\n" + errors if errors else "")
        step = {"Name": "step", "Status": outcome["status"] if outcome["status"] in STEP_STATUS else "Failed",
                "ResponseCode": outcome.get("exit_code", 0 if outcome["status"] == "Success" else -1), "Output": written[:2500]}
        steps = [{"Name": "first", "Status": "Success", "ResponseCode": 0, "Output": ""}] * wanted.get("steps_before", 0) + [step]
        return {"CommandInvocations": [{"CommandId": command_id, "InstanceId": instance, "Status": outcome["status"],
                                        "StatusDetails": outcome["status"], "CommandPlugins": steps}]}
