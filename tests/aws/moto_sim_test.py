#!/usr/bin/env python3
"""Checks that moto_sim keeps what its description promises, against a server of its own.

Run by scripts/test with the Python that has moto; a new version of moto has to pass it.
"""

import base64
import hashlib
import http.client
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.parse
import urllib.request

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError

SIM = pathlib.Path(__file__).with_name("moto_sim.py")
BODY = b"\x00\xff\\\n" * 1000


def sha256(body):
    return base64.b64encode(hashlib.sha256(body).digest()).decode()


class MotoSimTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(directory.cleanup)
        port_file = os.path.join(directory.name, "port")
        cls.server = subprocess.Popen([sys.executable, str(SIM), "--port", "0", "--port-file", port_file])
        cls.addClassCleanup(cls._stop)
        deadline = time.monotonic() + 30
        while not os.path.exists(port_file):
            assert cls.server.poll() is None and time.monotonic() < deadline, "moto_sim did not start"
            time.sleep(0.05)
        cls.url = f"http://127.0.0.1:{pathlib.Path(port_file).read_text().strip()}"

    @classmethod
    def _stop(cls):
        cls.server.terminate()
        cls.server.wait(15)

    def setUp(self):
        self.sim(reset=True)
        self.bucket = self.id().rpartition(".")[2].replace("_", "-")
        self.s3 = self.client("s3")
        self.s3.create_bucket(Bucket=self.bucket)
        self.sim(reset_requests=True)

    def client(self, service, **options):
        return boto3.client(service, endpoint_url=self.url, region_name="us-east-1", aws_access_key_id="test",
                            aws_secret_access_key="test", config=Config(
                                retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, **options))

    def sim(self, **change):
        request = urllib.request.Request(self.url + "/_sim", data=json.dumps(change).encode())
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def put(self, body=BODY, key="k", **options):
        return self.s3.put_object(Bucket=self.bucket, Key=key, Body=body, **options)

    def raw_put(self, body, headers, length=None, key="k"):
        """An upload with exactly these headers; gives the status and the error code."""
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(self.url).netloc)
        connection.putrequest("PUT", f"/{self.bucket}/{key}")
        for name, value in {**headers, "Content-Length": str(len(body) if length is None else length)}.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        if length is not None:
            connection.sock.shutdown(1)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text.partition("<Code>")[2].partition("</Code>")[0]

    def assert_refused(self, code, status, call):
        with self.assertRaises(ClientError) as caught:
            call()
        self.assertEqual(caught.exception.response["Error"]["Code"], code)
        self.assertEqual(caught.exception.response["ResponseMetadata"]["HTTPStatusCode"], status)

    def stored_keys(self):
        return [o["Key"] for o in self.s3.list_objects_v2(Bucket=self.bucket).get("Contents", [])]

    def test_checksum_header_is_verified_and_kept(self):
        self.assertEqual(self.raw_put(BODY, {"x-amz-checksum-sha256": sha256(BODY)}), (200, ""))
        head = self.s3.head_object(Bucket=self.bucket, Key="k", ChecksumMode="ENABLED")
        self.assertEqual(head["ChecksumSHA256"], sha256(BODY))
        get = self.s3.get_object(Bucket=self.bucket, Key="k", ChecksumMode="ENABLED")
        self.assertEqual(get["ChecksumSHA256"], sha256(BODY))
        self.assertEqual(get["Body"].read(), BODY)

    def test_wrong_checksums_are_refused(self):
        refusals = [
            ({"x-amz-checksum-sha256": sha256(b"other")}, "BadDigest"),
            ({"x-amz-checksum-crc32": "AAAAAA=="}, "BadDigest"),
            ({"Content-MD5": base64.b64encode(b"0" * 16).decode()}, "BadDigest"),
            ({"Content-MD5": "short"}, "InvalidDigest"),
            ({"x-amz-content-sha256": "0" * 64}, "XAmzContentSHA256Mismatch"),
            ({"x-amz-checksum-sha256": "no checksum"}, "InvalidRequest"),
            ({"x-amz-checksum-sha256": sha256(BODY), "x-amz-checksum-crc32": "AAAAAA=="}, "InvalidRequest"),
        ]
        for headers, code in refusals:
            with self.subTest(headers=headers):
                self.assertEqual(self.raw_put(BODY, headers), (400, code))
        self.assertEqual(self.stored_keys(), [])

    def test_body_that_ends_early_is_refused(self):
        self.assertEqual(self.raw_put(BODY, {}, length=len(BODY) + 1), (400, "IncompleteBody"))
        self.assertEqual(self.stored_keys(), [])

    def chunked(self, body, checksum):
        half = len(body) // 2
        chunks = b"".join(b"%x;chunk-signature=0\r\n%s\r\n" % (len(c), c) for c in (body[:half], body[half:]))
        trailer = b"0;chunk-signature=0\r\nx-amz-checksum-sha256:%s\r\n\r\n" % checksum.encode()
        return chunks + trailer, {
            "x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
            "x-amz-decoded-content-length": str(len(body)),
            "Content-Encoding": "aws-chunked",
            "x-amz-trailer": "x-amz-checksum-sha256",
        }

    def test_trailing_checksum_is_verified_and_kept(self):
        self.assertEqual(self.raw_put(*self.chunked(BODY, sha256(BODY))), (200, ""))
        get = self.s3.get_object(Bucket=self.bucket, Key="k", ChecksumMode="ENABLED")
        self.assertEqual((get["Body"].read(), get["ChecksumSHA256"]), (BODY, sha256(BODY)))
        self.assertNotIn("ContentEncoding", get)
        self.assertEqual(self.raw_put(*self.chunked(BODY, sha256(b"other")), key="bad"), (400, "BadDigest"))
        self.assertEqual(self.stored_keys(), ["k"])

    def test_multipart_upload(self):
        upload = self.s3.create_multipart_upload(Bucket=self.bucket, Key="m", ChecksumAlgorithm="SHA256")["UploadId"]
        part = self.s3.upload_part(Bucket=self.bucket, Key="m", UploadId=upload, PartNumber=1, Body=BODY,
                                   ChecksumSHA256=sha256(BODY))
        self.assert_refused("BadDigest", 400, lambda: self.s3.upload_part(
            Bucket=self.bucket, Key="m", UploadId=upload, PartNumber=2, Body=BODY, ChecksumSHA256=sha256(b"other")))
        with urllib.request.urlopen(f"{self.url}/{self.bucket}/m?uploadId={upload}") as answer:
            self.assertIn(b"<ListPartsResult", answer.read())
        self.s3.complete_multipart_upload(Bucket=self.bucket, Key="m", UploadId=upload, MultipartUpload={
            "Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
        self.assertEqual(self.s3.get_object(Bucket=self.bucket, Key="m")["Body"].read(), BODY)

    def test_conditional_writes(self):
        etag = self.put(IfNoneMatch="*")["ETag"]
        self.assert_refused("PreconditionFailed", 412, lambda: self.put(IfNoneMatch="*"))
        self.put(b"new", IfMatch=etag)
        self.assert_refused("PreconditionFailed", 412, lambda: self.put(IfMatch=etag))

    def test_fault_answers_with_its_error_as_often_as_told(self):
        self.sim(faults=[{"match": f"PUT /{self.bucket}/", "code": "ConditionalRequestConflict", "status": 409,
                          "skip": 1, "times": 2}])
        self.put()
        self.assert_refused("ConditionalRequestConflict", 409, lambda: self.put(IfNoneMatch="*"))
        self.assert_refused("ConditionalRequestConflict", 409, self.put)
        self.put()
        self.assertEqual(self.sim()["faults"], [])

    def test_fault_matches_operations_and_lasts_until_cleared(self):
        self.sim(faults=[{"match": "PutObject", "code": "AccessDenied", "status": 403, "times": None}])
        for _ in range(3):
            self.assert_refused("AccessDenied", 403, self.put)
        self.sim(clear_faults="PutObject")
        self.put()

    def test_lost_answer_leaves_the_effect(self):
        self.sim(faults=[{"match": self.bucket, "code": "InternalError", "status": 500, "after": True}])
        self.assert_refused("InternalError", 500, self.put)
        self.sim(faults=[{"match": self.bucket, "hang_up": True, "after": True}])
        with self.assertRaises(HTTPClientError):
            self.put(key="second")
        self.assertEqual(self.stored_keys(), ["k", "second"])

    def test_hang_up_before_leaves_nothing(self):
        self.sim(faults=[{"match": self.bucket, "hang_up": True}])
        with self.assertRaises(HTTPClientError):
            self.put()
        self.assertEqual(self.stored_keys(), [])

    def test_damaged_answers(self):
        self.put()
        self.sim(faults=[{"match": "GetObject", "corrupt": True}])
        damaged = self.s3.get_object(Bucket=self.bucket, Key="k")["Body"]._raw_stream.read()
        self.assertEqual((len(damaged), sum(a != b for a, b in zip(damaged, BODY))), (len(BODY), 1))
        self.sim(faults=[{"match": "GetObject", "truncate": 10}])
        with self.assertRaises(Exception):
            self.s3.get_object(Bucket=self.bucket, Key="k")["Body"].read()

    def test_delay_and_latency(self):
        self.sim(faults=[{"match": "HeadObject", "delay": 0.3}], latency=0.1)
        self.put()
        start = time.monotonic()
        self.s3.head_object(Bucket=self.bucket, Key="k")
        self.assertGreaterEqual(time.monotonic() - start, 0.4)

    def test_requests_are_counted(self):
        self.put()
        self.s3.get_object(Bucket=self.bucket, Key="k")["Body"].read()
        with self.assertRaises(ClientError):
            self.s3.head_object(Bucket=self.bucket, Key="absent")
        self.s3.list_objects_v2(Bucket=self.bucket)
        counted = self.sim()["requests"][self.bucket]
        self.assertEqual({name: c["requests"] for name, c in counted.items()},
                         {"PutObject": 1, "GetObject": 1, "HeadObject": 1, "ListObjectsV2": 1})
        self.assertEqual(counted["GetObject"]["bytes_out"], len(BODY))
        self.assertEqual(counted["HeadObject"]["errors"], 1)
        self.assertNotIn(self.bucket, self.sim(reset_requests=self.bucket)["requests"])

    def test_unknown_settings_are_refused(self):
        for change in ({"latncy": 1}, {"faults": [{"mach": "x"}]}):
            with self.subTest(change=change), self.assertRaises(urllib.error.HTTPError) as caught:
                self.sim(**change)
            self.assertEqual(caught.exception.code, 400)
            caught.exception.close()

    def test_snapshots_have_a_lifecycle(self):
        ec2 = self.client("ec2")
        volume = ec2.create_volume(AvailabilityZone="us-east-1a", Size=1)["VolumeId"]
        self.sim(snapshot_seconds=0.6)
        snapshot = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
        state = ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0]
        self.assertEqual(state["State"], "pending")
        time.sleep(0.7)
        state = ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0]
        self.assertEqual((state["State"], state["Progress"]), ("completed", "100%"))
        self.sim(snapshot_seconds=0, snapshot_outcome="error")
        snapshot = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
        self.assertEqual(ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0]["State"], "error")

    def test_snapshots_are_paged_hidden_and_locked_by_region(self):
        ec2 = self.client("ec2")
        volume = ec2.create_volume(AvailabilityZone="us-east-1a", Size=2)["VolumeId"]
        made = {ec2.create_snapshot(VolumeId=volume)["SnapshotId"] for _ in range(5)}
        self.sim(regions={"us-east-1": {"page_limit": 2}, "eu-west-1": {"page_limit": 1}})
        by_volume = [{"Name": "volume-id", "Values": [volume]}]
        pages = list(ec2.get_paginator("describe_snapshots").paginate(Filters=by_volume, PaginationConfig={"PageSize": 500}))
        self.assertEqual([len(p["Snapshots"]) for p in pages], [2, 2, 1])
        self.assertEqual({s["SnapshotId"] for p in pages for s in p["Snapshots"]}, made)
        self.sim(regions={"us-east-1": {"snapshot_hidden_seconds": 60}})
        self.assertEqual(ec2.describe_snapshots(Filters=by_volume)["Snapshots"], [])
        one = made.pop()
        ec2.lock_snapshot(SnapshotId=one, LockMode="governance", LockDuration=1)
        self.assertEqual(ec2.describe_locked_snapshots(SnapshotIds=[one])["Snapshots"][0]["SnapshotId"], one)
        self.assert_refused("ClientError", 400, lambda: ec2.delete_snapshot(SnapshotId=one))
        ec2.delete_snapshot(SnapshotId=made.pop())

    def test_volumes_are_made_once_and_attached_where_there_is_room(self):
        ec2 = self.client("ec2")
        first = ec2.create_volume(AvailabilityZone="us-east-1a", Size=2)["VolumeId"]
        snapshot = ec2.create_snapshot(VolumeId=first)["SnapshotId"]
        make = lambda token, size=2: ec2.create_volume(AvailabilityZone="us-east-1a", SnapshotId=snapshot, Size=size,
                                                       ClientToken=token)["VolumeId"]
        self.assertEqual(make("a"), make("a"))
        self.assertNotEqual(make("a"), make("b"))
        self.assert_refused("InvalidParameterValue", 400, lambda: make("c", 1))
        instance = ec2.run_instances(ImageId="ami-12345678", MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
        attach = lambda volume, device: ec2.attach_volume(VolumeId=volume, InstanceId=instance, Device=device)
        attach(make("a"), "/dev/sdf")
        self.assert_refused("InvalidParameterValue", 400, lambda: attach(make("b"), "/dev/sdf"))
        taken = ec2.create_snapshots(InstanceSpecification={
            "InstanceId": instance, "ExcludeBootVolume": True, "ExcludeDataVolumeIds": [make("a")]})
        self.assertEqual(taken["Snapshots"], [])

    def test_faults_speak_the_language_of_each_service(self):
        self.sim(faults=[{"match": "Action=CreateSnapshot", "code": "RequestLimitExceeded"},
                         {"match": "Action=DescribeDBInstances", "code": "Throttling", "status": 400},
                         {"match": "GetParameter", "code": "ThrottlingException", "status": 400}])
        self.assert_refused("RequestLimitExceeded", 503, lambda: self.client("ec2").create_snapshot(VolumeId="vol-1"))
        self.assert_refused("Throttling", 400, self.client("rds").describe_db_instances)
        self.assert_refused("ThrottlingException", 400, lambda: self.client("ssm").get_parameter(Name="p"))

    def test_rds_takes_time_fails_pages_and_has_quotas_and_windows(self):
        rds = self.client("rds")
        self.sim(rds={"slow": {"snapshot_seconds": 0.6, "instance_seconds": 0.3, "window_seconds": 3600}, "us-east-1": {"snapshot_quota": 7}})
        rds.create_db_instance(DBInstanceIdentifier="slow", DBInstanceClass="db.t3.micro", Engine="postgres", AllocatedStorage=20,
                               MasterUsername="u", MasterUserPassword="password")
        state = lambda: rds.describe_db_instances(DBInstanceIdentifier="slow")["DBInstances"][0]["DBInstanceStatus"]
        self.assertEqual(state(), "creating")
        time.sleep(0.4)
        self.assertEqual(state(), "available")
        made = rds.create_db_snapshot(DBInstanceIdentifier="slow", DBSnapshotIdentifier="s")["DBSnapshot"]
        self.assertEqual(made["Status"], "creating")
        time.sleep(0.7)
        seen = rds.describe_db_snapshots(DBSnapshotIdentifier="s")["DBSnapshots"][0]
        self.assertEqual((seen["Status"], seen["PercentProgress"]), ("available", 100))
        self.sim(rds={"slow": {"snapshot_outcome": "failed"}})
        rds.create_db_snapshot(DBInstanceIdentifier="slow", DBSnapshotIdentifier="f")
        self.assertEqual(rds.describe_db_snapshots(DBSnapshotIdentifier="f")["DBSnapshots"][0]["Status"], "failed")
        for i in range(25):
            rds.create_db_snapshot(DBInstanceIdentifier="slow", DBSnapshotIdentifier=f"p{i}")
        pages = [len(p["DBSnapshots"]) for p in rds.get_paginator("describe_db_snapshots").paginate(
            SnapshotType="manual", PaginationConfig={"PageSize": 20})]
        self.assertEqual(pages, [20, 7])
        quotas = {q["AccountQuotaName"]: (q["Used"], q["Max"]) for q in rds.describe_account_attributes()["AccountQuotas"]}
        self.assertEqual(quotas["ManualSnapshots"], (27, 7))
        window = rds.describe_db_instance_automated_backups(DBInstanceIdentifier="slow")["DBInstanceAutomatedBackups"][0]["RestoreWindow"]
        self.assertLess(window["EarliestTime"], window["LatestTime"])
        self.sim(faults=[{"match": "Action=DeleteDBSnapshot DBSnapshotIdentifier=p1 ", "code": "InvalidDBSnapshotState", "status": 400}])
        rds.delete_db_snapshot(DBSnapshotIdentifier="p2")
        self.assert_refused("InvalidDBSnapshotState", 400, lambda: rds.delete_db_snapshot(DBSnapshotIdentifier="p1"))

    def test_commands_are_late_fail_or_really_run(self):
        ssm = self.client("ssm")
        send = lambda instance, line: ssm.send_command(
            InstanceIds=[instance], DocumentName="AWS-RunShellScript", Parameters={"commands": [line]})["Command"]["CommandId"]
        def look(command, instance):
            seen = ssm.list_command_invocations(CommandId=command, InstanceId=instance, Details=True)["CommandInvocations"]
            return [(seen["Status"], [(s["ResponseCode"], s["Output"]) for s in seen["CommandPlugins"]]) for seen in seen]

        self.sim(commands={"i-no": {"unknown": True}, "i-late": {"invisible_seconds": 0.3, "seconds": 0.6},
                           "i-bad": {"status": "Failed", "exit_code": 3, "errors": "no", "steps_before": 1}, "i-run": {"run": True}})
        self.assert_refused("InvalidInstanceId", 400, lambda: send("i-no", "true"))
        late, bad, run = send("i-late", "true"), send("i-bad", "true"), send("i-run", "echo out; echo err >&2; exit 7")
        self.assertEqual(look(late, "i-late"), [])
        time.sleep(0.4)
        self.assertEqual(look(late, "i-late"), [("InProgress", [(-1, "")])])
        time.sleep(0.4)
        self.assertEqual(look(late, "i-late"), [("Success", [(0, "")])])
        self.assertEqual(look(bad, "i-bad"), [("Failed", [(0, ""), (3, "\n----------ERROR-------\nno")])])
        self.assertEqual(look(run, "i-run"), [("Failed", [(7, "out\n\n----------ERROR-------\nerr\n")])])


if __name__ == "__main__":
    unittest.main()
