CREATE TABLE state (
	one             INTEGER PRIMARY KEY CHECK (one = 1),
	seq             INTEGER NOT NULL,
	last_node_id    INTEGER NOT NULL,
	last_user_id    INTEGER NOT NULL,
	last_authkey_id INTEGER NOT NULL
) STRICT;

INSERT INTO state VALUES (1, 0, 0, 0, 0);

CREATE TABLE tailnets (
	id   INTEGER PRIMARY KEY,
	name TEXT NOT NULL UNIQUE
) STRICT;

INSERT INTO tailnets VALUES (1, 'default');

CREATE TABLE users (
	tailnet_id      INTEGER NOT NULL REFERENCES tailnets (id),
	id              INTEGER PRIMARY KEY,
	login_name      TEXT    NOT NULL,
	display_name    TEXT    NOT NULL,
	profile_pic_url TEXT    NOT NULL,
	created         INTEGER,
	UNIQUE (tailnet_id, login_name)
) STRICT;

-- Times are microseconds since 1970 in UTC; NULL is no time. Keys are in their
-- text form. Lists and host information are JSON.
CREATE TABLE nodes (
	tailnet_id    INTEGER NOT NULL REFERENCES tailnets (id),
	id            INTEGER PRIMARY KEY,
	stable_id     TEXT    NOT NULL UNIQUE,
	user_id       INTEGER NOT NULL REFERENCES users (id) DEFERRABLE INITIALLY DEFERRED,
	machine_key   TEXT    NOT NULL,
	node_key      TEXT    NOT NULL UNIQUE,
	disco_key     TEXT    NOT NULL,
	lock_key      TEXT    NOT NULL,
	key_signature BLOB,
	given_name    TEXT    NOT NULL,
	name_fixed    INTEGER NOT NULL,
	hostinfo      TEXT    NOT NULL,
	endpoints     TEXT    NOT NULL,
	home_derp     INTEGER NOT NULL,
	ipv4          TEXT    UNIQUE,
	ipv6          TEXT    UNIQUE,
	tags          TEXT    NOT NULL,
	ephemeral     INTEGER NOT NULL,
	authorized    INTEGER NOT NULL,
	key_expiry    INTEGER,
	created       INTEGER,
	last_seen     INTEGER,
	cap           INTEGER NOT NULL,
	lock_head     TEXT    NOT NULL,
	authkey_id    INTEGER NOT NULL,
	UNIQUE (tailnet_id, given_name)
) STRICT;

CREATE TABLE auth_keys (
	tailnet_id    INTEGER NOT NULL REFERENCES tailnets (id),
	id            INTEGER PRIMARY KEY,
	user_id       INTEGER NOT NULL REFERENCES users (id) DEFERRABLE INITIALLY DEFERRED,
	hash          BLOB    NOT NULL,
	reusable      INTEGER NOT NULL,
	ephemeral     INTEGER NOT NULL,
	preauthorized INTEGER NOT NULL,
	tags          TEXT    NOT NULL,
	description   TEXT    NOT NULL,
	created       INTEGER,
	expiry        INTEGER,
	revoked       INTEGER,
	uses          INTEGER NOT NULL,
	last_used     INTEGER
) STRICT;

CREATE TABLE audit (
	seq        INTEGER PRIMARY KEY,
	tailnet_id INTEGER NOT NULL REFERENCES tailnets (id),
	at         INTEGER NOT NULL,
	actor_kind TEXT    NOT NULL,
	actor_name TEXT    NOT NULL,
	action     TEXT    NOT NULL,
	target     TEXT    NOT NULL,
	detail     TEXT    NOT NULL
) STRICT;

CREATE INDEX audit_by_tailnet ON audit (tailnet_id, seq);

-- The server's own identity: its keys and the certificate it signed for itself.
CREATE TABLE secrets (
	name  TEXT PRIMARY KEY,
	value BLOB NOT NULL
) STRICT;
