package tailnet

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"time"
)

// record collects the command's audit record. detail is marshalled to JSON.
func (t *tx) record(by Actor, tn TailnetID, action, target string, detail map[string]any) {
	r := &AuditRecord{TailnetID: tn, At: t.now, Actor: by, Action: action, Target: target}
	if len(detail) > 0 {
		text, err := json.Marshal(detail)
		if err != nil {
			panic("audit detail of " + action + ": " + err.Error()) // a map of plain values always marshals
		}
		r.Detail = string(text)
	}
	t.audit, t.detail = r, detail
}

// decision is an audit record on its way to the log.
type decision struct {
	AuditRecord
	detail map[string]any
}

// log writes what was done to the log, for people: keys in their short form, and
// by whom only where the target does not say it.
func (d *decision) log(l *slog.Logger) {
	if !l.Enabled(context.Background(), slog.LevelInfo) {
		return
	}
	attrs := make([]slog.Attr, 0, 3+len(d.detail))
	attrs = append(attrs, slog.String("target", d.Target))
	by := d.Actor.Kind
	if d.Actor.Name != "" && d.Actor.Name != d.Target {
		by += " " + d.Actor.Name
	}
	attrs = append(attrs, slog.String("by", by))
	for _, name := range slices.Sorted(maps.Keys(d.detail)) {
		attrs = append(attrs, slog.Any(name, readable(d.detail[name])))
	}
	attrs = append(attrs, slog.Uint64("seq", d.Seq))
	l.LogAttrs(context.Background(), slog.LevelInfo, d.Action, attrs...)
}

// readable is the form of a detail in the log.
func readable(v any) any {
	switch v := v.(type) {
	case interface{ ShortString() string }:
		return v.ShortString()
	case time.Time:
		if v.IsZero() {
			return "never"
		}
	}
	return v
}

const (
	// pruneStep is how many records a step of pruning looks at: few enough that
	// no command waits for long.
	pruneStep = 500
	// pruneEvery is the time between two rounds, pruneNext that between two
	// steps of one round.
	pruneEvery = time.Hour
	pruneNext  = time.Second
)

// newPruneTimer returns the timer of the first round of pruning. Without an end to
// the life of audit records it never fires.
func (s *Service) newPruneTimer() *time.Timer {
	t := time.NewTimer(pruneNext)
	if s.o.AuditKeep <= 0 {
		t.Stop()
	}
	return t
}

// pruneAudit removes some of the audit records that are too old, and returns when
// to go on.
func (s *Service) pruneAudit() time.Duration {
	n, err := s.store.PruneAudit(context.Background(), timestamp().Add(-s.o.AuditKeep), pruneStep)
	switch {
	case err != nil:
		s.log.Error("old audit records stay", "err", err)
	case n > 0:
		s.log.Debug("audit records removed", "records", n, "older", s.o.AuditKeep)
	}
	if n == pruneStep {
		return pruneNext
	}
	return pruneEvery
}
