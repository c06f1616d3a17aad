"""What stands in ``identities.sqlite``: keys, raises, the audit log, and how far another authority's changes were applied."""

from __future__ import annotations

from router_extproc.store.sqlite_file import Schema

IDENTITIES = Schema(
    1,
    """
create table keys (id text primary key, tenant text not null, document text not null) without rowid;
create index keys_by_tenant on keys (tenant, id);
create table raises (
  id text primary key, budget text not null, amount integer not null, since real not null, until real not null
) without rowid;
create table audit (
  sequence integer primary key,
  id text not null unique,
  at real not null,
  actor text not null,
  action text not null,
  subject text not null,
  detail text not null
);
create index audit_by_time on audit (at);
create table applied (sequence integer not null);
insert into applied values (0)
""",
)
