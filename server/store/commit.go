package store

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/ginnel/ginnel/server/tailnet"
)

// Commit implements tailnet.Store.
func (s *SQLite) Commit(ctx context.Context, b *tailnet.Batch) error {
	return s.write(ctx, func(c *sqlite.Conn) error {
		if err := advance(c, b); err != nil {
			return err
		}
		for _, op := range b.Ops {
			if err := writeOp(c, op); err != nil {
				return err
			}
		}
		for _, r := range b.Audit {
			if err := writeAudit(c, r); err != nil {
				return err
			}
		}
		return nil
	})
}

// advance moves the sequence number on, if it is where the batch expects it.
func advance(c *sqlite.Conn, b *tailnet.Batch) error {
	err := execSQL(c, `UPDATE state SET seq = ?, last_node_id = ?, last_user_id = ?, last_authkey_id = ? WHERE seq = ?`,
		int64(b.Seq), int64(b.Counters.Node), int64(b.Counters.User), b.Counters.AuthKey, int64(b.Base))
	if err != nil {
		return fmt.Errorf("moving the sequence number to %d: %w", b.Seq, err)
	}
	if c.Changes() != 1 {
		return tailnet.ErrConflict
	}
	return nil
}

func writeOp(c *sqlite.Conn, op tailnet.Op) (err error) {
	switch {
	case op.PutNode != nil:
		if err = putNode(c, op.PutNode); err != nil {
			err = fmt.Errorf("writing node %d: %w", op.PutNode.ID, err)
		}
	case op.DeleteNode != 0:
		err = execSQL(c, `DELETE FROM nodes WHERE id = ?`, int64(op.DeleteNode))
	case op.PutUser != nil:
		if err = putUser(c, op.PutUser); err != nil {
			err = fmt.Errorf("writing user %d: %w", op.PutUser.ID, err)
		}
	case op.DeleteUser != 0:
		err = execSQL(c, `DELETE FROM users WHERE id = ?`, int64(op.DeleteUser))
	case op.PutAuthKey != nil:
		if err = putAuthKey(c, op.PutAuthKey); err != nil {
			err = fmt.Errorf("writing auth key %d: %w", op.PutAuthKey.ID, err)
		}
	case op.DeleteAuthKey != 0:
		err = execSQL(c, `DELETE FROM auth_keys WHERE id = ?`, op.DeleteAuthKey)
	}
	return err
}

const upsertNode = `INSERT INTO nodes (tailnet_id, id, stable_id, user_id, machine_key, node_key, disco_key, lock_key, key_signature,
	given_name, name_fixed, hostinfo, endpoints, home_derp, ipv4, ipv6, tags, ephemeral, authorized, key_expiry, created, last_seen,
	cap, lock_head, authkey_id)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET user_id = excluded.user_id, machine_key = excluded.machine_key, node_key = excluded.node_key,
	disco_key = excluded.disco_key, lock_key = excluded.lock_key, key_signature = excluded.key_signature, given_name = excluded.given_name,
	name_fixed = excluded.name_fixed, hostinfo = excluded.hostinfo, endpoints = excluded.endpoints, home_derp = excluded.home_derp,
	ipv4 = excluded.ipv4, ipv6 = excluded.ipv6, tags = excluded.tags, ephemeral = excluded.ephemeral, authorized = excluded.authorized,
	key_expiry = excluded.key_expiry, last_seen = excluded.last_seen, cap = excluded.cap, lock_head = excluded.lock_head,
	authkey_id = excluded.authkey_id`

func putNode(c *sqlite.Conn, n *tailnet.Node) error {
	hostinfo, err := json.Marshal(n.Hostinfo)
	if err != nil {
		return err
	}
	endpoints, err := json.Marshal(n.Endpoints)
	if err != nil {
		return err
	}
	tags, err := json.Marshal(n.Tags)
	if err != nil {
		return err
	}
	return execSQL(c, upsertNode,
		int64(n.TailnetID), int64(n.ID), string(n.StableID), int64(n.UserID),
		n.Machine.String(), n.Key.String(), n.Disco.String(), n.LockKey.String(), blob(n.KeySignature),
		n.GivenName, n.NameFixed, string(hostinfo), string(endpoints), n.HomeDERP, addr(n.IPv4), addr(n.IPv6),
		string(tags), n.Ephemeral, n.Authorized, micros(n.KeyExpiry), micros(n.Created), micros(n.LastSeen),
		int64(n.Cap), n.LockHead, n.AuthKeyID)
}

func putUser(c *sqlite.Conn, u *tailnet.User) error {
	return execSQL(c, `INSERT INTO users (tailnet_id, id, login_name, display_name, profile_pic_url, created) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET login_name = excluded.login_name, display_name = excluded.display_name,
		profile_pic_url = excluded.profile_pic_url`,
		int64(u.TailnetID), int64(u.ID), u.LoginName, u.DisplayName, u.ProfilePicURL, micros(u.Created))
}

func putAuthKey(c *sqlite.Conn, k *tailnet.AuthKey) error {
	tags, err := json.Marshal(k.Tags)
	if err != nil {
		return err
	}
	return execSQL(c, `INSERT INTO auth_keys (tailnet_id, id, user_id, hash, reusable, ephemeral, preauthorized, tags, description,
			created, expiry, revoked, uses, last_used) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET description = excluded.description, expiry = excluded.expiry, revoked = excluded.revoked,
			uses = excluded.uses, last_used = excluded.last_used`,
		int64(k.TailnetID), k.ID, int64(k.UserID), k.Hash[:], k.Reusable, k.Ephemeral, k.Preauthorized, string(tags), k.Description,
		micros(k.Created), micros(k.Expiry), micros(k.Revoked), k.Uses, micros(k.LastUsed))
}

func writeAudit(c *sqlite.Conn, r tailnet.AuditRecord) error {
	err := execSQL(c, `INSERT INTO audit (seq, tailnet_id, at, actor_kind, actor_name, action, target, detail) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		int64(r.Seq), int64(r.TailnetID), r.At.UnixMicro(), r.Actor.Kind, r.Actor.Name, r.Action, r.Target, r.Detail)
	if err != nil {
		return fmt.Errorf("writing audit record %d: %w", r.Seq, err)
	}
	return nil
}

func execSQL(c *sqlite.Conn, query string, args ...any) error {
	return sqlitex.Execute(c, query, &sqlitex.ExecOptions{Args: args})
}

// micros is the form of a time in the database: NULL for none.
func micros(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMicro()
}

// addr is the form of an address in the database: NULL for none.
func addr(a netip.Addr) any {
	if !a.IsValid() {
		return nil
	}
	return a.String()
}

// blob is the form of bytes in the database: NULL for none.
func blob(b []byte) any {
	if b == nil {
		return nil
	}
	return b
}
