"""EBS as AWS has it, where moto has not: used by moto_sim.py, which describes the knobs.

* Snapshots pass through `pending` with growing progress, can be invisible at first, and can end in `error`.
* DescribeSnapshots and DescribeVolumes come in pages of MaxResults, or fewer.
* CreateSnapshots leaves out the volumes of ExcludeDataVolumeIds.
* CreateVolume answers a repeated ClientToken with the volume that it made before, refuses to make one smaller than its snapshot, and new volumes
  and attachments take a moment.
* AttachVolume refuses a device in use and an instance of another zone.
* LockSnapshot and DescribeLockedSnapshots exist, and a locked snapshot is not deleted.
* A snapshot that was temporarily restored from the archive tier lies in the standard tier.
"""

import re
import time
import urllib.parse
import xml.etree.ElementTree as ElementTree

from moto.ec2.models.elastic_block_store import EBSBackend, Snapshot, Volume

NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"
PAGED = {"DescribeSnapshots": "snapshotSet", "DescribeVolumes": "volumeSet"}


class Refused(Exception):
    """An error answer in AWS's own words."""

    def __init__(self, code, message, status=400):
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


class Ebs:
    """State that moto does not keep."""

    def __init__(self, settings):
        self.settings = settings
        self.locks = {}
        self.volumes = {}

    def setting(self, region, name):
        return self.settings().get("regions", {}).get(region, {}).get(name, self.settings().get(name))

    def install(self):
        self._lifecycle()
        self._visibility()
        self._excluded_volumes()
        self._moments()
        self._tiers()

    def _lifecycle(self):
        """Replaces the born-completed state of moto's snapshots by one that time moves on."""
        original_init, ebs = Snapshot.__init__, self

        def init(self, *args, **kwargs):
            from_image = bool(kwargs.get("from_ami"))
            backend = args[0] if args else kwargs["ec2_backend"]
            volume = args[2] if len(args) > 2 else kwargs["volume"]
            region = backend.region_name
            failing = volume.id in (ebs.setting(region, "fail_volumes") or [])
            self.created_at = time.monotonic()
            self.pending_seconds = 0.0 if from_image else ebs.setting(region, "snapshot_seconds")
            self.outcome = "completed" if from_image else "error" if failing else ebs.setting(region, "snapshot_outcome")
            original_init(self, *args, **kwargs)

        def status(self):
            return "pending" if time.monotonic() - self.created_at < self.pending_seconds else self.outcome

        def progress(self):
            if self.status == "completed":
                return "100%"
            done = (time.monotonic() - self.created_at) / max(self.pending_seconds, 0.001)
            return f"{min(99, int(100 * done))}%"

        Snapshot.__init__ = init
        # moto assigns the status once, in the initialiser: the setter lets that pass without effect.
        Snapshot.status = property(status, lambda self, value: None)
        Snapshot.progress = property(progress)

    def _visibility(self):
        original, ebs = EBSBackend.describe_snapshots, self

        def describe_snapshots(self, snapshot_ids=None, filters=None):
            found = original(self, snapshot_ids, filters)
            if snapshot_ids:
                return found
            hidden = ebs.setting(self.region_name, "snapshot_hidden_seconds") or 0
            return [s for s in found if s.from_ami or time.monotonic() - s.created_at >= hidden]

        EBSBackend.describe_snapshots = describe_snapshots

    def _excluded_volumes(self):
        original, ebs = EBSBackend.create_snapshots, self

        def create_snapshots(self, instance_spec, description, tags):
            excluded = set(instance_spec.get("ExcludeDataVolumeIds") or [])
            excluded.update(ebs.setting(self.region_name, "skip_volumes") or [])
            if not excluded:
                return original(self, instance_spec, description, tags)
            instance = self.get_instance(instance_spec["InstanceId"])
            without_root = str(instance_spec.get("ExcludeBootVolume", False)).lower() == "true"
            volumes = [m.volume_id for device, m in instance.get_block_device_mapping
                       if m.volume_id not in excluded and not (without_root and device == instance.root_device_name)]
            snapshots = [self.create_snapshot(volume, description=description) for volume in volumes]
            for snapshot in snapshots:
                snapshot.add_tags(tags)
            return snapshots

        EBSBackend.create_snapshots = create_snapshots

    def _moments(self):
        """New volumes are `creating` for a moment."""
        original_init, original_status, ebs = Volume.__init__, Volume.status, self

        def init(self, *args, **kwargs):
            original_init(self, *args, **kwargs)
            self.born_at = time.monotonic()

        def status(self):
            moment = ebs.setting(self.ec2_backend.region_name, "volume_seconds") or 0
            young = self.snapshot_id and time.monotonic() - self.born_at < moment
            return "creating" if young and not self.attachment else original_status.fget(self)

        Volume.__init__ = init
        Volume.status = property(status)

    @staticmethod
    def _tiers():
        original = EBSBackend.restore_snapshot_tier

        def restore_snapshot_tier(self, snapshot_id, *args, **kwargs):
            snapshot = original(self, snapshot_id, *args, **kwargs)
            self.get_snapshot(snapshot_id).storage_tier = "standard"
            return snapshot

        EBSBackend.restore_snapshot_tier = restore_snapshot_tier

    def before(self, region, action, form, backend):
        """Answers or refuses what moto cannot: a body, or None for moto to go on with."""
        dry = form.get("DryRun") == "true"
        if action == "LockSnapshot" and not dry:
            snapshot = backend.get_snapshot(form["SnapshotId"])
            self.locks[snapshot.id] = form["LockMode"]
            return answer(action, f"<snapshotId>{snapshot.id}</snapshotId><lockState>{form['LockMode']}</lockState>")
        if action == "DescribeLockedSnapshots":
            wanted = [v for k, v in form.items() if k.startswith("SnapshotId.")]
            items = "".join(f"<item><snapshotId>{s}</snapshotId><lockState>{m}</lockState></item>"
                            for s, m in self.locks.items() if s in wanted)
            return answer(action, f"<snapshotSet>{items}</snapshotSet>")
        if action in ("LockSnapshot",) and dry:
            raise Refused("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)
        if action == "DeleteSnapshot" and not dry and form["SnapshotId"] in self.locks:
            raise Refused("ClientError", f"{form['SnapshotId']} cannot be deleted in its present state")
        if action == "CreateVolume" and not dry:
            return self._create_volume(form, backend)
        if action == "AttachVolume" and not dry:
            self._attach(form, backend)
        return None

    def _create_volume(self, form, backend):
        token = form.get("ClientToken")
        if token in self.volumes:
            volume = backend.volumes[self.volumes[token]]
            return answer("CreateVolume", f"<volumeId>{volume.id}</volumeId><status>{volume.status}</status>")
        if form.get("SnapshotId") and int(form.get("Size", 1 << 20)) < backend.get_snapshot(form["SnapshotId"]).volume.size:
            raise Refused("InvalidParameterValue", "The volume size is smaller than its snapshot")
        return None

    @staticmethod
    def _attach(form, backend):
        instance = backend.get_instance(form["InstanceId"])
        volume = backend.volumes[form["VolumeId"]]
        if volume.zone.name != instance._placement.zone:
            raise Refused("InvalidVolume.ZoneMismatch", "The volume is not in the same availability zone as the instance")
        if volume.attachment:
            raise Refused("VolumeInUse", f"{volume.id} is already attached to an instance")
        if form["Device"] in dict(instance.get_block_device_mapping):
            raise Refused("InvalidParameterValue", f"Attachment point {form['Device']} is already in use")
        if volume.status != "available":
            raise Refused("IncorrectState", f"{volume.id} is not 'available'")

    def after(self, region, action, form, body):
        """Remembers what was made, and cuts the answer into pages."""
        if action == "CreateVolume" and form.get("ClientToken") and b"<volumeId>" in body:
            self.volumes[form["ClientToken"]] = re.search(rb"<volumeId>([^<]+)", body).group(1).decode()
        if action in PAGED and form.get("MaxResults") and b"<Error>" not in body:
            limit = min(int(form["MaxResults"]), self.setting(region, "page_limit") or 1000)
            return page(body, PAGED[action], limit, int(form.get("NextToken") or 0))
        return body


def answer(action, fields):
    return (f'<{action}Response xmlns="{NAMESPACE}"><requestId>sim</requestId>{fields}</{action}Response>').encode()


def page(body, name, limit, start):
    ElementTree.register_namespace("", NAMESPACE)
    root = ElementTree.fromstring(body)
    space = root.tag.partition("}")[0] + "}" if root.tag.startswith("{") else ""
    items = root.find(space + name)
    if items is None:
        return body
    everything = list(items)
    for item in everything[:start] + everything[start + limit:]:
        items.remove(item)
    if start + limit < len(everything):
        ElementTree.SubElement(root, space + "nextToken").text = str(start + limit)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def form_of(body):
    return {k: v[0] for k, v in urllib.parse.parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True).items()}
