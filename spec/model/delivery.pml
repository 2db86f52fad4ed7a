/* SPDX-License-Identifier: Apache-2.0
 *
 * A file that is read, a durable channel, a hop to another agent, its channel, and a table that a sink with two connections fills. Either agent is
 * killed, the link is cut, a connection to the table is lost and a put is refused between any two steps; README.md says what is shown by it, and what not.
 *
 * Each process is a loop of steps that are atomic, and keeps nothing of its own: what an agent knows is in the variables below, of which a crash leaves
 * those that are durable. Every step uses up a fault, or brings an event nearer to the table: so a run that goes on for ever is an error, and so is one
 * that stands still before each event is in the table once.
 *
 * -DM_NAME builds a broken variant, which has to be caught.
 */
#ifndef N
#define N 3 /* events, each a batch of its own; they are numbered from 1 */
#endif
#ifndef WINDOW
#define WINDOW 2 /* messages that are under way on the hop */
#endif
#ifndef KILLS
#define KILLS 1 /* of each agent */
#endif
#ifndef CUTS
#define CUTS 1 /* of the hop, and as many times a connection to the table is lost */
#endif
#define ROOM (N + 2) /* events in a channel: two more than there are, so that what comes twice reaches the table */

/* A channel. Whoever reads it reads what is on disk; the cursor of its source is in the same record as the event that it came with. */
typedef log {
  byte event[ROOM];
  byte cursor[ROOM]; /* of the file the event's number, of the hop the offset upstream that comes next */
  bool durable[ROOM];
  byte next; /* offset of the next put */
  byte safe; /* all below is on disk, and whoever waits for it is told */
  byte have; /* cursor of the last put */
  byte pos;  /* all below has been committed by the reader */
  byte posd; /* the same as it is on disk, where it may lag behind */
  byte kept; /* M_CURSOR_APART: the cursor on disk, if it has a write of its own */
};

log a, b; /* upstream, downstream */

inline put(l, e, c) {
  l.event[l.next] = e;
  l.cursor[l.next] = c;
  l.have = c;
  l.next++
}

/* flush makes the oldest record durable that is not. */
inline flush(l) {
#ifdef M_OUT_OF_ORDER
  if
  :: l.safe + 1 < l.next && !l.durable[l.safe + 1] -> l.durable[l.safe + 1] = true
  :: else -> l.durable[l.safe] = true
  fi;
#else
  l.durable[l.safe] = true;
#endif
  do
  :: l.safe < l.next && l.durable[l.safe] -> l.safe++
  :: else -> break
  od
}

/* recover is what an agent finds after a crash: the records that are on disk, and the cursor of the last of them. */
inline recover(l) {
  i = 0;
  n = 0;
  l.have = 0;
  do
  :: i < l.next && l.durable[i] ->
     l.event[n] = l.event[i];
     l.cursor[n] = l.cursor[i];
     l.have = l.cursor[i];
     n++;
     i++
  :: i < l.next && !l.durable[i] -> i++
  :: else -> break
  od;
  l.next = n;
  l.safe = n;
  i = 0;
  do
  :: i < n -> l.durable[i] = true; i++
  :: i >= n && i < ROOM -> l.event[i] = 0; l.cursor[i] = 0; l.durable[i] = false; i++
  :: else -> break
  od;
#ifdef M_CURSOR_APART
  l.have = l.kept;
#endif
  l.pos = l.posd;
  i = 0;
  n = 0
}

/* The hop: one ordered stream, on which the sink has sent what lies below `sent`. */
mtype = { STORED, AGAIN };
chan msgs = [WINDOW] of { byte, byte };     /* prev and the event; next is prev + 1 */
chan answers = [WINDOW] of { mtype, byte }; /* and what the other side has */
bool up;       /* there is a connection */
byte sent;
bool asked;    /* downstream: something came that it has already */
byte answered; /* downstream: the last that was STORED. Who has not heard it sends again, and so asks */
byte refusals = 1; /* the downstream channel is full, and says so */

inline hang_up() {
  do
  :: nempty(msgs) -> msgs ? _, _
  :: empty(msgs) && nempty(answers) -> answers ? _, _
  :: empty(msgs) && empty(answers) -> break
  od;
  up = false;
  sent = 0;
  asked = false
}

/* The table, and beside it what a transactional sink stores. */
byte table[N + 1]; /* how often an event is there */
bool held[ROOM];   /* a row for each delivery, until it is pruned */
byte high;         /* M_ONE_NUMBER: one number instead of the rows */

/* The sink: an instance, and its connections, each with a lease of one event. */
bool opened;         /* it has said what the table holds */
byte taken;          /* all below is leased, or need not be */
byte lease[2];       /* offset + 1; 0: none */
bool stored[2];      /* its transaction is committed */
bool finished[ROOM]; /* so the agent was told */

inline end_sink() {
  opened = false;
  taken = 0;
  lease[0] = 0;
  lease[1] = 0;
  stored[0] = false;
  stored[1] = false
}

inline forget_finished() {
  i = 0;
  do
  :: i < ROOM -> finished[i] = (i < b.pos); i++
  :: else -> break
  od;
  i = 0
}

/* file reads on from the cursor. */
active proctype file() {
  do
  :: atomic { a.have < N && a.next < ROOM -> put(a, a.have + 1, a.have + 1) }
  od
}

active proctype disk_upstream() {
  do
  :: atomic { a.safe < a.next -> flush(a) }
  :: atomic { a.posd < a.pos -> a.posd = a.pos }
#ifdef M_CURSOR_APART
  :: atomic { a.safe == a.next && a.kept != a.have -> a.kept = a.have }
#endif
  od
}

active proctype hop_sink() {
  byte v;
  do
  :: atomic { !up && a.pos < a.safe -> up = true; sent = a.pos }
  :: atomic { up && nfull(msgs) && sent < a.safe && sent < a.pos + WINDOW ->
       msgs ! sent, a.event[sent];
       sent++;
#ifdef M_COMMIT_ON_SEND
       a.pos = (sent > a.pos -> sent : a.pos)
#endif
     }
  :: atomic { answers ? STORED, v -> /* what was taken is committed */
       a.pos = (v > a.pos -> v : a.pos);
       sent = (v > sent -> v : sent);
       v = 0
     }
  :: atomic { answers ? AGAIN, v -> sent = (v > a.pos -> v : a.pos); v = 0 }
  od
}

/* which messages are put, and which are there already; of the others the sink is told where to go on. */
#if defined(M_LAST_SEQUENCE)
#define old(prev) (prev + 1 <= b.have)
#define fits(prev) (prev + 1 > b.have)
#elif defined(M_SEQUENCE_WINDOW)
#define old(prev) (prev + 1 == b.have)
#define fits(prev) (prev + 1 != b.have)
#else
#define old(prev) (prev + 1 <= b.have)
#define fits(prev) (prev == b.have)
#endif

active proctype hop_source() {
  byte prev, e;
  do
  :: atomic { nfull(answers) && b.next < ROOM && nempty(msgs) -> msgs ? prev, e;
       if
#if defined(M_NOT_SAID)
       :: old(prev) -> skip
#elif defined(M_GOES_BACK)
       :: old(prev) -> answers ! AGAIN, prev
#else
       :: old(prev) -> asked = true
#endif
       :: !old(prev) && fits(prev) -> put(b, e, prev + 1)
       :: !old(prev) && fits(prev) && refusals > 0 -> refusals--; answers ! AGAIN, b.have
       :: !old(prev) && !fits(prev) -> answers ! AGAIN, b.have
       fi;
       prev = 0;
       e = 0
     }
  od
}

#ifdef M_ACK_BEFORE_COMMIT
#define sure b.have
#else
#define sure (b.safe > 0 -> b.cursor[b.safe - 1] : 0)
#endif

/* It answers when something more is on disk; and who sent again what was there, when all of that is. */
active proctype disk_downstream() {
  do
  :: atomic { b.safe < b.next -> flush(b) }
  :: atomic { b.posd < b.pos -> b.posd = b.pos }
  :: atomic { up && nfull(answers) && (sure > answered || (asked && sure == b.have)) ->
       answered = sure;
       answers ! STORED, answered;
       asked = false
     }
#ifdef M_CURSOR_APART
  :: atomic { b.safe == b.next && b.kept != b.have -> b.kept = b.have }
#endif
  od
}

/* open_sink: what the table holds is as good as what the agent knows. */
inline open_sink() {
  i = 0;
  do
  :: i < ROOM ->
#ifdef M_ONE_NUMBER
     finished[i] = (finished[i] || i < high);
#else
     finished[i] = (finished[i] || held[i]);
#endif
     i++
  :: else -> break
  od;
  i = 0;
  opened = true;
  taken = b.pos
}

/* transact is one transaction of the destination. A row that is there already makes it do nothing. */
inline transact(offset) {
  if
#ifdef M_ONE_NUMBER
  :: offset < high -> skip
#else
  :: held[offset] -> skip
#endif
  :: else ->
     assert(table[b.event[offset]] == 0); /* twice */
     table[b.event[offset]]++;
     held[offset] = true;
     high = offset + 1
  fi
}

active [2] proctype connection() {
  byte i;
  byte me = _pid % 2;
  do
  :: atomic { !opened && b.pos < b.safe -> open_sink() }
  :: atomic { opened && lease[me] == 0 && taken < b.safe ->
       if
       :: finished[taken] -> skip
       :: else -> lease[me] = taken + 1
       fi;
       taken++
     }
  :: atomic { lease[me] > 0 && !stored[me] -> transact(lease[me] - 1); stored[me] = true }
  :: atomic { stored[me] -> finished[lease[me] - 1] = true; lease[me] = 0; stored[me] = false }
  :: atomic { b.pos < b.safe && finished[b.pos] -> b.pos++ }
  od
}

#ifdef M_PRUNE_EARLY
#define prunable b.pos
#else
#define prunable b.posd
#endif

active proctype prune() {
  byte i;
  do
  :: atomic { i < prunable -> held[i] = false; i++ }
  od
}

active proctype faults() {
  byte i, n, up_kills = KILLS, down_kills = KILLS, cuts = CUTS, breaks = CUTS;
  do
  :: atomic { up_kills > 0 -> up_kills--; recover(a); hang_up() }
  :: atomic { down_kills > 0 -> down_kills--; recover(b); answered = b.have; hang_up(); end_sink(); forget_finished() }
  :: atomic { cuts > 0 && up -> cuts--; hang_up() }
  :: atomic { breaks > 0 && opened -> breaks--; end_sink() } /* whether a transaction was committed is not known */
  :: break
  od
}

active proctype judge() {
  byte e = 1;
  timeout; /* nothing can happen any more */
  do
  :: e <= N -> assert(table[e] == 1); e++ /* lost */
  :: else -> break
  od;
  assert(a.pos == N && b.pos == N) /* a channel waits for its reader */
}
