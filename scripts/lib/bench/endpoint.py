"""The S3 endpoint of examples/s3_endpoint, for as long as a measurement needs it."""

import json
import shutil
import subprocess
import time
import urllib.request

START_SECONDS = 15


class Endpoint:
    """A running endpoint, empty at first; its objects are gone with it."""

    def __init__(self, program, tools, latency_ms):
        self._folder = tools.folder("s3")
        self._folder.mkdir()
        port_file = self._folder / "port"
        command = [program, "--directory", self._folder / "objects", "--port-file", port_file, "--latency-ms", str(latency_ms)]
        self._log = open(self._folder / "log", "wb")
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log, start_new_session=True)
        deadline = time.monotonic() + START_SECONDS
        while not port_file.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"the S3 endpoint did not start: {(self._folder / 'log').read_text()}")
            time.sleep(0.01)
        self._url = f"http://127.0.0.1:{port_file.read_text()}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self._folder)

    def stop(self):
        self._process.kill()
        self._process.wait()
        self._log.close()

    def environment(self):
        """What makes the SDK talk to it and to nothing else."""
        return {"AWS_ENDPOINT_URL": self._url, "AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_REGION": "eu-west-1",
                "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}

    def counts(self):
        """Operation → number of requests so far."""
        with urllib.request.urlopen(f"{self._url}/_counts") as answer:
            return json.load(answer)
