"""What stands in ``ledger.sqlite``: rows, totals, what is set aside, and how far the access log is settled.

Workers set aside, the observer settles, all in this one file: a reservation and the spending that replaces it can so never
be seen both or neither.
"""

from __future__ import annotations

from router_extproc.store.sqlite_file import Schema

# SQLite's integers end at 2**63: a thousand such amounts can still be summed.
LARGEST_AMOUNT = 2**53

LEDGER = Schema(
    1,
    """
create table ledger (
  sequence integer primary key,
  request text not null,
  attempt integer not null,
  purpose text not null,
  at real not null,
  tenant text not null,
  team text not null,
  user text not null,
  key text not null,
  session text not null,
  tags text not null,
  route text not null,
  model text not null,
  provider text not null,
  deployment text not null,
  status integer not null,
  cause text not null,
  prompt_tokens integer not null,
  completion_tokens integer not null,
  cached_tokens integer not null,
  usage_source text not null,
  cost_micro_usd integer not null
);
create unique index ledger_by_call on ledger (request, attempt, purpose);
create index ledger_by_time on ledger (at);
create index ledger_by_tenant on ledger (tenant, at);
create trigger ledger_is_append_only before update on ledger begin
  select raise(abort, 'ledger rows are never changed');
end;

create table totals (
  counter text not null,
  bucket integer not null,
  amount integer not null,
  expires_at integer not null,
  primary key (counter, bucket)
) without rowid;

create table holds (
  counter text not null,
  reservation text not null,
  amount integer not null,
  until real not null,
  primary key (counter, reservation)
) without rowid;
create index holds_by_end on holds (until);

-- The sum of a counter's holds, kept by the triggers alone: thousands of requests may be in flight on one counter.
create table counters (
  counter text primary key,
  held integer not null
) without rowid;
create trigger more_is_held after insert on holds begin
  insert into counters values (new.counter, new.amount) on conflict (counter) do update set held = held + excluded.held;
end;
create trigger less_is_held after delete on holds begin
  update counters set held = held - old.amount where counter = old.counter;
end;

create table claims (name text primary key, expires_at real not null) without rowid;

create table untold_totals (counter text not null, bucket integer not null, primary key (counter, bucket)) without rowid;
create table untold_releases (
  counter text not null, reservation text not null, primary key (counter, reservation)
) without rowid;

create table settled_log (file integer not null, offset integer not null);
create table instance (name text not null);
insert into instance values (lower(hex(randomblob(8))))
""",
)
