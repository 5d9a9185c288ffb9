"""RDS as it is where moto is simpler: snapshots and instances that take time, pages, quotas, restore windows.

Settings under "rds" at /_sim, by identifier of the instance or cluster, or of a region for the quota:

{"rds": {"prod-db": {"snapshot_seconds": 2,            how long its new snapshots, and copies of them, are `creating`
                     "snapshot_outcome": "failed",     what they are after that (default "available")
                     "hidden_seconds": 2,              how long they are not described yet
                     "instance_seconds": 1,            how long an instance or cluster of this name is `creating` once it is made
                     "window_seconds": 86400,          how far its automated backups reach back (0: it has none)
                     "window_lag_seconds": 300},       how long ago the latest time is that they reach (default 0)
         "eu-north-1": {"snapshot_quota": 2}}}         manual snapshots allowed there (default 100, clusters apart)

Instances and clusters have immutable ids of their own, by which point-in-time restores find them under every name, and their automated backups after they are
deleted. The action SimForms, which AWS does not have, answers as JSON with every restore, creation and change that was asked for of Identifier.
"""

import datetime
import json
import re
import time
import uuid
import xml.etree.ElementTree as ElementTree

from moto.rds.exceptions import RDSClientError
from moto.rds.models import DBCluster, DBClusterSnapshot, DBInstance, DBSnapshot, RDSBackend, rds_backends
from moto.rds.utils import FilterDef

NAMESPACE = "http://rds.amazonaws.com/doc/2014-10-31/"
PAGED = {"DescribeDBSnapshots": "DBSnapshots", "DescribeDBClusterSnapshots": "DBClusterSnapshots"}
DEFAULT_PAGE = 100
DEFAULT_QUOTA = 100
DEFAULT_WINDOW = 86400
RECORDED = re.compile("(Restore|Create|Modify)DB(Instance|Cluster)(From.*|To.*)?$|EnableHttpEndpoint$")
NEW_NAMES = ("TargetDBInstanceIdentifier", "DBInstanceIdentifier", "DBClusterIdentifier", "ResourceArn")
# What was asked for, by the identifier that it is about.
FORMS = {}
# What was deleted, by region and immutable id: its automated backups are kept.
GONE = {}


def install(settings):
    """Gives moto's models a life. `settings(identifier)` returns what the tests want of it."""
    for model, of in ((DBSnapshot, "db_instance_identifier"), (DBClusterSnapshot, "db_cluster_identifier")):
        _snapshots_take_time(model, of, settings)
    for model, name in ((DBInstance, "db_instance_identifier"), (DBCluster, "db_cluster_identifier")):
        _instances_take_time(model, name, settings)
    _snapshots_are_kept_while_made("delete_db_snapshot", "database_snapshots", "InvalidDBSnapshotState")
    _snapshots_are_kept_while_made("delete_db_cluster_snapshot", "cluster_snapshots", "InvalidDBClusterSnapshotStateFault")
    _snapshots_hide("describe_db_snapshots", "db_instance_identifier", "DBSnapshotNotFound", settings)
    _snapshots_hide("describe_db_cluster_snapshots", "db_cluster_identifier", "DBClusterSnapshotNotFoundFault", settings)
    DBCluster.earliest_restorable_time = property(
        lambda self: (_window(settings(self.db_cluster_identifier)) or {}).get("earliest_time"), lambda self, value: None)
    DBCluster.latest_restorable_time = property(
        lambda self: (_window(settings(self.db_cluster_identifier)) or {}).get("latest_time"))
    DBCluster.SUPPORTED_FILTERS["db-cluster-resource-id"] = FilterDef(["db_cluster_resource_id"], "DB Cluster Resource Ids")
    _sources_keep_their_ids("databases", "dbi_resource_id", "delete_db_instance", _restore_instance)
    _sources_keep_their_ids("clusters", "db_cluster_resource_id", "delete_db_cluster", _restore_cluster)
    _cluster_names_are_taken_once()


def _cluster_names_are_taken_once():
    original = RDSBackend.create_db_cluster

    def create(self, kwargs):
        if kwargs["db_cluster_identifier"] in self.clusters:
            raise RDSClientError("DBClusterAlreadyExistsFault", "DB Cluster already exists")
        return original(self, kwargs)

    RDSBackend.create_db_cluster = create


def _sources_keep_their_ids(store, resource, delete, restore):
    original_delete = getattr(RDSBackend, delete)

    def deleted(self, *args, **kwargs):
        gone = original_delete(self, *args, **kwargs)
        GONE[self.region_name, getattr(gone, resource)] = gone
        return gone

    setattr(RDSBackend, delete, deleted)
    restore(lambda backend, wanted: next(
        (of for of in [*getattr(backend, store).values(), *GONE.values()] if getattr(of, resource, None) == wanted), None))


def _restore_instance(source):
    original = RDSBackend.restore_db_instance_to_point_in_time

    def restore(self, source_db_identifier, target_db_identifier, overrides):
        found = source(self, overrides.get("source_dbi_resource_id")) or self.databases.get(source_db_identifier)
        if found is None:
            raise RDSClientError("DBInstanceNotFound", "DBInstance not found.")
        return _with(self.databases, found, found.db_instance_identifier, "db_instance_identifier",
                     lambda name: original(self, name, target_db_identifier, overrides))

    RDSBackend.restore_db_instance_to_point_in_time = restore


def _restore_cluster(source):
    original = RDSBackend.restore_db_cluster_to_point_in_time

    def restore(self, db_cluster_identifier, source_db_cluster_identifier=None, source_db_cluster_resource_id=None, **more):
        found = source(self, source_db_cluster_resource_id) or self.clusters.get(source_db_cluster_identifier)
        if found is None:
            raise RDSClientError("DBClusterNotFoundFault", "DBCluster not found.")
        return _with(self.clusters, found, found.db_cluster_identifier, "db_cluster_identifier",
                     lambda name: original(self, db_cluster_identifier, name, **more))

    RDSBackend.restore_db_cluster_to_point_in_time = restore


def _with(store, found, name, attribute, act):
    """Acts as long as `found`, which may be gone, is in `store`."""
    if store.get(name) is found:
        return act(name)
    lent = f"sim-{uuid.uuid4().hex}"
    store[lent] = found
    setattr(found, attribute, lent)
    try:
        return act(lent)
    finally:
        setattr(found, attribute, name)
        del store[lent]


def _window(wanted):
    seconds = wanted.get("window_seconds", DEFAULT_WINDOW)
    now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    latest = now - datetime.timedelta(seconds=wanted.get("window_lag_seconds", 0))
    return {"earliest_time": now - datetime.timedelta(seconds=seconds), "latest_time": latest} if seconds else None


def _snapshots_take_time(model, of, settings):
    original_init = model.__init__

    def init(self, *args, **kwargs):
        self.sim_made_at = time.monotonic()
        original_init(self, *args, **kwargs)
        wanted = settings(getattr(self, of))
        manual = self.snapshot_type == "manual"
        self.sim_seconds = wanted.get("snapshot_seconds", 0) if manual else 0
        self.sim_outcome = wanted.get("snapshot_outcome", "available") if manual else "available"

    def status(self):
        return "creating" if time.monotonic() - self.sim_made_at < self.sim_seconds else self.sim_outcome

    def progress(self):
        done = (time.monotonic() - self.sim_made_at) / max(self.sim_seconds, 0.001)
        return 100 if done >= 1 else int(100 * done)

    model.__init__ = init
    # moto assigns both once, in the initialiser: the setters let that pass without effect.
    model.status = property(status, lambda self, value: None)
    model.percent_progress = property(progress, lambda self, value: None)


def _snapshots_are_kept_while_made(name, held_in, code):
    original = getattr(RDSBackend, name)

    def delete(self, db_snapshot_identifier):
        snapshot = getattr(self, held_in).get(db_snapshot_identifier)
        if snapshot is not None and snapshot.status == "creating":
            raise RDSClientError(code, f"Cannot delete the snapshot because it is not currently in the available or failed state: {db_snapshot_identifier}")
        return original(self, db_snapshot_identifier)

    setattr(RDSBackend, name, delete)


def _snapshots_hide(name, of, absent, settings):
    original = getattr(RDSBackend, name)

    def describe(self, owner=None, db_snapshot_identifier=None, *rest, **named):
        found = original(self, named.pop(of, owner), db_snapshot_identifier, *rest, **named)
        seen = [s for s in found if time.monotonic() - s.sim_made_at >= settings(getattr(s, of)).get("hidden_seconds", 0)]
        if db_snapshot_identifier and found and not seen:
            raise RDSClientError(absent, f"{db_snapshot_identifier} not found.")
        return seen

    setattr(RDSBackend, name, describe)


def _instances_take_time(model, name, settings):
    original_init = model.__init__

    def init(self, *args, **kwargs):
        self.sim_made_at = time.monotonic()
        original_init(self, *args, **kwargs)
        if model is DBInstance:
            self.dbi_resource_id = f"db-{uuid.uuid4().hex[:26].upper()}"

    attribute = "db_instance_status" if hasattr(model, "db_instance_status") else "status"
    original = getattr(model, attribute, None)

    def status(self):
        if time.monotonic() - self.sim_made_at < settings(getattr(self, name)).get("instance_seconds", 0):
            return "creating"
        return original.fget(self) if isinstance(original, property) else self.__dict__.get("sim_status", "available")

    def assign(self, value):
        if isinstance(original, property):
            original.fset(self, value)
        else:
            self.__dict__["sim_status"] = value

    model.__init__ = init
    setattr(model, attribute, property(status, assign))


def answer(action, form, region, settings):
    """The body for an action that moto does not have; None: moto has it."""
    if action == "DescribeAccountAttributes":
        return _quotas(region, settings(region).get("snapshot_quota", DEFAULT_QUOTA))
    if action in ("DescribeDBInstanceAutomatedBackups", "DescribeDBClusterAutomatedBackups"):
        return _automated_backups(action, form, region, settings)
    if action == "SimForms":
        return json.dumps(FORMS.get(form["Identifier"][0], [])).encode()
    if RECORDED.match(action):
        name = next(form[key][0] for key in NEW_NAMES if key in form).split(":")[-1]
        FORMS.setdefault(name, []).append({key: value[0] for key, value in form.items() if key != "Version"})
    if action == "EnableHttpEndpoint":
        next(iter(rds_backends.values()))[region].clusters[name]._enable_http_endpoint = True
        return _result(action, "<HttpEndpointEnabled>true</HttpEndpointEnabled>")
    return None


def _automated_backups(action, form, region, settings):
    """Those of instances, living and deleted; of clusters only deleted ones are listed here."""
    kind, name, resource, element = (
        (DBInstance, "db_instance_identifier", "dbi_resource_id", "DBInstance") if "Instance" in action else
        (DBCluster, "db_cluster_identifier", "db_cluster_resource_id", "DBCluster"))
    backend = next(iter(rds_backends.values()))[region]
    living = list(backend.databases.values()) if kind is DBInstance else []
    gone = [of for (where, _), of in GONE.items() if where == region and isinstance(of, kind)]
    asked_name = form.get(f"{element}Identifier", [None])[0]
    asked_id = form.get("DbiResourceId" if kind is DBInstance else "DbClusterResourceId", [None])[0]
    listed = ""
    for of in [*gone, *living]:
        window = _window(settings(getattr(of, name)))
        matches = asked_id in (None, getattr(of, resource)) and asked_name in (None, getattr(of, name))
        if not window or not matches or not int(getattr(of, "backup_retention_period", 1) or 0):
            continue
        earliest, latest = (window[key].strftime("%Y-%m-%dT%H:%M:%SZ") for key in ("earliest_time", "latest_time"))
        listed += (f"<{element}AutomatedBackup><{element}Identifier>{getattr(of, name)}</{element}Identifier>"
                   f"<RestoreWindow><EarliestTime>{earliest}</EarliestTime><LatestTime>{latest}</LatestTime></RestoreWindow>"
                   f"<Status>{'active' if of in living else 'retained'}</Status></{element}AutomatedBackup>")
    return _result(action, f"<{element}AutomatedBackups>{listed}</{element}AutomatedBackups>")


def _quotas(region, quota):
    backend = next(iter(rds_backends.values()))[region]
    used = {
        "ManualSnapshots": sum(s.snapshot_type == "manual" for s in backend.database_snapshots.values()),
        "ManualClusterSnapshots": sum(s.snapshot_type == "manual" for s in backend.cluster_snapshots.values()),
    }
    quotas = "".join(f"<AccountQuota><AccountQuotaName>{name}</AccountQuotaName><Used>{n}</Used><Max>{quota}</Max></AccountQuota>"
                     for name, n in used.items())
    return _result("DescribeAccountAttributes", f"<AccountQuotas>{quotas}</AccountQuotas>")


def _result(action, inner):
    return (f'<{action}Response xmlns="{NAMESPACE}"><{action}Result>{inner}</{action}Result>'
            f"<ResponseMetadata><RequestId>sim</RequestId></ResponseMetadata></{action}Response>").encode()


def paged(action, form, body):
    """Cuts a list into the pages that were asked for."""
    listed = PAGED.get(action)
    if not listed:
        return body
    size = int(form.get("MaxRecords", [DEFAULT_PAGE])[0])
    begin = int(form.get("Marker", ["0"])[0] or 0)
    ElementTree.register_namespace("", NAMESPACE)
    root = ElementTree.fromstring(body)
    found = re.match(r"\{.*\}", root.tag)
    space = found.group(0) if found else ""
    result = root.find(f"{space}{action}Result")
    members = result.find(f"{space}{listed}") if result is not None else None
    if members is None or len(members) <= size:
        return body
    for i, member in reversed(list(enumerate(members))):
        if not begin <= i < begin + size:
            members.remove(member)
    total_left = begin + size
    for stale in result.findall(f"{space}Marker"):
        result.remove(stale)
    if len(members) == size:
        ElementTree.SubElement(result, f"{space}Marker").text = str(total_left)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
