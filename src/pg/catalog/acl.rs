//! Access privileges: from `aclitem[]` to GRANT and REVOKE against what a new object has.
