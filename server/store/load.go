package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/ginnel/ginnel/server/tailnet"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// Load implements tailnet.Store.
func (s *SQLite) Load(ctx context.Context) (*tailnet.State, error) {
	st := &tailnet.State{}
	err := s.read(ctx, func(c *sqlite.Conn) error {
		return errors.Join(loadState(c, st), loadUsers(c, st), loadAuthKeys(c, st), loadNodes(c, st), loadOnline(c, st))
	})
	if err != nil {
		return nil, err
	}
	return st, nil
}

func loadState(c *sqlite.Conn, st *tailnet.State) error {
	return query(c, `SELECT seq, last_node_id, last_user_id, last_authkey_id FROM state`, func(r *row) {
		st.Seq = uint64(r.int())
		st.Counters = tailnet.Counters{Node: control.NodeID(r.int()), User: control.UserID(r.int()), AuthKey: r.int()}
	})
}

func loadUsers(c *sqlite.Conn, st *tailnet.State) error {
	return query(c, `SELECT tailnet_id, id, login_name, display_name, profile_pic_url, created FROM users ORDER BY id`, func(r *row) {
		st.Users = append(st.Users, &tailnet.User{
			TailnetID: tailnet.TailnetID(r.int()), ID: control.UserID(r.int()),
			LoginName: r.text(), DisplayName: r.text(), ProfilePicURL: r.text(), Created: r.time(),
		})
	})
}

func loadAuthKeys(c *sqlite.Conn, st *tailnet.State) error {
	return query(c, `SELECT tailnet_id, id, user_id, hash, reusable, ephemeral, preauthorized, tags, description, created, expiry,
			revoked, uses, last_used FROM auth_keys ORDER BY id`, func(r *row) {
		k := &tailnet.AuthKey{TailnetID: tailnet.TailnetID(r.int()), ID: r.int(), UserID: control.UserID(r.int())}
		if n := copy(k.Hash[:], r.bytes()); n != len(k.Hash) {
			r.fail(fmt.Errorf("hash has %d bytes", n))
		}
		k.Reusable, k.Ephemeral, k.Preauthorized = r.bool(), r.bool(), r.bool()
		r.json(&k.Tags)
		k.Description = r.text()
		k.Created, k.Expiry, k.Revoked = r.time(), r.time(), r.time()
		k.Uses, k.LastUsed = r.int(), r.time()
		st.AuthKeys = append(st.AuthKeys, k)
	})
}

func loadNodes(c *sqlite.Conn, st *tailnet.State) error {
	return query(c, `SELECT tailnet_id, id, stable_id, user_id, machine_key, node_key, disco_key, lock_key, key_signature, given_name,
			name_fixed, hostinfo, endpoints, home_derp, ipv4, ipv6, tags, ephemeral, authorized, key_expiry, created, last_seen, cap,
			lock_head, authkey_id FROM nodes ORDER BY id`, func(r *row) {
		n := &tailnet.Node{TailnetID: tailnet.TailnetID(r.int()), ID: control.NodeID(r.int())}
		n.StableID, n.UserID = control.StableNodeID(r.text()), control.UserID(r.int())
		n.Machine = parse(r, key.ParseMachinePublic)
		n.Key = parse(r, key.ParseNodePublic)
		n.Disco = parse(r, key.ParseDiscoPublic)
		n.LockKey = parse(r, key.ParseLockPublic)
		n.KeySignature = r.bytes()
		n.GivenName, n.NameFixed = r.text(), r.bool()
		n.Hostinfo = &control.Hostinfo{}
		r.json(n.Hostinfo)
		r.json(&n.Endpoints)
		n.HomeDERP = int(r.int())
		n.IPv4, n.IPv6 = r.addr(), r.addr()
		r.json(&n.Tags)
		n.Ephemeral, n.Authorized = r.bool(), r.bool()
		n.KeyExpiry, n.Created, n.LastSeen = r.time(), r.time(), r.time()
		n.Cap = control.CapabilityVersion(r.int())
		n.LockHead, n.AuthKeyID = r.text(), r.int()
		st.Nodes = append(st.Nodes, n)
	})
}

// Audit implements tailnet.Store.
func (s *SQLite) Audit(ctx context.Context, t tailnet.TailnetID, before uint64, limit int) (out []tailnet.AuditRecord, err error) {
	last := int64(before)
	if before == 0 {
		last = 1<<63 - 1
	}
	err = s.read(ctx, func(c *sqlite.Conn) error {
		return query(c, `SELECT seq, tailnet_id, at, actor_kind, actor_name, action, target, detail FROM audit
				WHERE tailnet_id = ? AND seq < ? ORDER BY seq DESC LIMIT ?`, func(r *row) {
			out = append(out, tailnet.AuditRecord{
				Seq: uint64(r.int()), TailnetID: tailnet.TailnetID(r.int()), At: r.time(),
				Actor: tailnet.Actor{Kind: r.text(), Name: r.text()}, Action: r.text(), Target: r.text(), Detail: r.text(),
			})
		}, int64(t), last, limit)
	})
	if err != nil {
		return nil, fmt.Errorf("reading the audit log: %w", err)
	}
	return out, nil
}

// PruneAudit implements tailnet.Store. It reads no more records than it is allowed
// to remove, so it never holds up the commits for long.
func (s *SQLite) PruneAudit(ctx context.Context, before time.Time, limit int) (removed int, err error) {
	err = s.write(ctx, func(c *sqlite.Conn) error {
		err := execSQL(c, `DELETE FROM audit WHERE seq IN (SELECT seq FROM audit ORDER BY seq LIMIT ?) AND at < ?`, limit, before.UnixMicro())
		removed = c.Changes()
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("pruning the audit log: %w", err)
	}
	return removed, nil
}

// row reads the columns of a result row one after the other and keeps the first
// error.
type row struct {
	stmt *sqlite.Stmt
	col  int
	err  error
}

// query runs a query and calls fn with every row.
func query(c *sqlite.Conn, sql string, fn func(*row), args ...any) error {
	return sqlitex.Execute(c, sql, &sqlitex.ExecOptions{
		Args: args,
		ResultFunc: func(stmt *sqlite.Stmt) error {
			r := &row{stmt: stmt}
			fn(r)
			return r.err
		},
	})
}

func (r *row) next() int {
	r.col++
	return r.col - 1
}

// fail notes that the column read last is not what it should be.
func (r *row) fail(err error) {
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("column %s of row %s: %w", r.stmt.ColumnName(r.col-1), r.stmt.ColumnText(1), err)
	}
}

func (r *row) int() int64    { return r.stmt.ColumnInt64(r.next()) }
func (r *row) bool() bool    { return r.stmt.ColumnBool(r.next()) }
func (r *row) text() string  { return r.stmt.ColumnText(r.next()) }
func (r *row) bytes() []byte { return columnBytes(r.stmt, r.next()) }

func (r *row) json(v any) { r.fail(json.Unmarshal([]byte(r.text()), v)) }

func (r *row) time() time.Time {
	col := r.next()
	if r.stmt.ColumnIsNull(col) {
		return time.Time{}
	}
	return time.UnixMicro(r.stmt.ColumnInt64(col)).UTC()
}

func (r *row) addr() netip.Addr {
	text := r.text()
	if text == "" {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(text)
	r.fail(err)
	return a
}

// parse reads a text column by the parser of its type.
func parse[T any](r *row, fn func(string) (T, error)) T {
	v, err := fn(r.text())
	r.fail(err)
	return v
}
