package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/ginnel/ginnel/server/tailnet"
	"github.com/ginnel/ginnel/wire/control"
)

// NoteOnline implements tailnet.Store.
func (s *SQLite) NoteOnline(ctx context.Context, o tailnet.Online) error {
	err := s.write(ctx, func(c *sqlite.Conn) error {
		return execSQL(c, `INSERT INTO online (one, at, nodes) VALUES (1, ?, ?)
			ON CONFLICT (one) DO UPDATE SET at = excluded.at, nodes = excluded.nodes`, o.At.UnixMicro(), packIDs(o.Nodes))
	})
	if err != nil {
		return fmt.Errorf("noting who is online: %w", err)
	}
	return nil
}

func loadOnline(c *sqlite.Conn, st *tailnet.State) error {
	return query(c, `SELECT at, nodes FROM online`, func(r *row) {
		st.Online.At = time.UnixMicro(r.int()).UTC()
		ids, err := unpackIDs(r.bytes())
		r.fail(err)
		st.Online.Nodes = ids
	})
}

// packIDs returns the differences of ascending IDs, as varints.
func packIDs(ids []control.NodeID) []byte {
	out := make([]byte, 0, 2*len(ids))
	var last control.NodeID
	for _, id := range ids {
		out = binary.AppendVarint(out, int64(id-last))
		last = id
	}
	return out
}

// unpackIDs reads what packIDs made.
func unpackIDs(b []byte) (ids []control.NodeID, err error) {
	var last control.NodeID
	for len(b) > 0 {
		d, n := binary.Varint(b)
		if n <= 0 {
			return nil, errors.New("list of nodes is cut off")
		}
		last += control.NodeID(d)
		ids, b = append(ids, last), b[n:]
	}
	return ids, nil
}
