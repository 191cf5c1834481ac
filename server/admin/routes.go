package admin

import (
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/ginnel/ginnel/server/tailnet"
	"github.com/ginnel/ginnel/wire/control"
)

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v0/status", s.handle(s.status))
	mux.HandleFunc("GET /v0/backup", s.backup)
	mux.HandleFunc("GET /v0/audit", s.handle(s.audit))

	mux.HandleFunc("GET /v0/users", s.handle(s.listUsers))
	mux.HandleFunc("POST /v0/users", s.handle(s.createUser))
	mux.HandleFunc("PATCH /v0/users/{user}", s.handle(s.renameUser))
	mux.HandleFunc("DELETE /v0/users/{user}", s.handle(s.deleteUser))

	mux.HandleFunc("GET /v0/authkeys", s.handle(s.listAuthKeys))
	mux.HandleFunc("POST /v0/authkeys", s.handle(s.createAuthKey))
	mux.HandleFunc("POST /v0/authkeys/{id}/revoke", s.handle(s.revokeAuthKey))

	mux.HandleFunc("GET /v0/nodes", s.handle(s.listNodes))
	mux.HandleFunc("GET /v0/nodes/{node}", s.handle(s.onNode(func(*http.Request, *tailnet.Node) (*tailnet.Node, error) { return nil, nil })))
	mux.HandleFunc("DELETE /v0/nodes/{node}", s.handle(s.onNode(s.deleteNode)))
	mux.HandleFunc("POST /v0/nodes/{node}/rename", s.handle(s.onNode(s.renameNode)))
	mux.HandleFunc("POST /v0/nodes/{node}/tags", s.handle(s.onNode(s.tagNode)))
	mux.HandleFunc("POST /v0/nodes/{node}/expire", s.handle(s.onNode(s.expireNode)))
	mux.HandleFunc("POST /v0/nodes/{node}/approve", s.handle(s.onNode(s.approveNode)))

	mux.HandleFunc("GET /v0/logins", s.handle(s.listLogins))
	mux.HandleFunc("POST /v0/logins/{id}/approve", s.handle(s.approveLogin))
	mux.HandleFunc("POST /v0/logins/{id}/deny", s.handle(s.denyLogin))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, http.StatusNotFound, errorBody{"no such request: " + r.Method + " " + r.URL.Path})
	})
	return mux
}

func (s *Server) snapshot() *tailnet.Snapshot { return s.cfg.Tailnet.Snapshot() }

func (s *Server) status(*http.Request) (any, error) {
	st := s.cfg.Status()
	snap := s.snapshot()
	for n := range snap.Nodes(tailnet.DefaultTailnet) {
		st.Nodes++
		if n.Online {
			st.Online++
		}
	}
	for range snap.Users(tailnet.DefaultTailnet) {
		st.Users++
	}
	st.Pending = len(s.cfg.Tailnet.PendingLogins())
	st.ChangeSeq = snap.Seq()
	return st, nil
}

func (s *Server) audit(r *http.Request) (any, error) {
	limit, before := 100, uint64(0)
	var err error
	if v := r.FormValue("limit"); v != "" {
		if limit, err = strconv.Atoi(v); err != nil || limit < 1 || limit > 10000 {
			return nil, badRequest("limit %.20q is not a number from 1 to 10000", v)
		}
	}
	if v := r.FormValue("before"); v != "" {
		if before, err = strconv.ParseUint(v, 10, 63); err != nil {
			return nil, badRequest("before %.20q is not a sequence number", v)
		}
	}
	records, err := s.cfg.Tailnet.Audit(r.Context(), tailnet.DefaultTailnet, before, limit)
	if err != nil {
		return nil, err
	}
	out := []AuditRecord{}
	for _, rec := range records {
		who := strings.TrimSpace(rec.Actor.Kind + " " + rec.Actor.Name)
		out = append(out, AuditRecord{Seq: rec.Seq, At: rec.At, Actor: who, Action: rec.Action, Target: rec.Target, Detail: rec.Detail})
	}
	return out, nil
}

func (s *Server) listUsers(*http.Request) (any, error) {
	snap := s.snapshot()
	count := map[control.UserID]int{}
	for n := range snap.Nodes(tailnet.DefaultTailnet) {
		count[n.UserID]++
	}
	out := []User{}
	for u := range snap.Users(tailnet.DefaultTailnet) {
		out = append(out, userView(u, count[u.ID]))
	}
	return out, nil
}

func userView(u *tailnet.User, nodes int) User {
	return User{ID: u.ID, LoginName: u.LoginName, DisplayName: u.DisplayName, Created: u.Created, Nodes: nodes}
}

func (s *Server) createUser(r *http.Request) (any, error) {
	req, err := body[UserRequest](r)
	if err != nil {
		return nil, err
	}
	u, err := s.cfg.Tailnet.CreateUser(r.Context(), actor(r), tailnet.DefaultTailnet, tailnet.UserParams(req))
	if err != nil {
		return nil, err
	}
	return userView(u, 0), nil
}

func (s *Server) renameUser(r *http.Request) (any, error) {
	req, err := body[UserRequest](r)
	if err != nil {
		return nil, err
	}
	u, err := findUser(s.snapshot(), r.PathValue("user"))
	if err != nil {
		return nil, err
	}
	if u, err = s.cfg.Tailnet.RenameUser(r.Context(), actor(r), u.ID, tailnet.UserParams(req)); err != nil {
		return nil, err
	}
	nodes := 0
	for n := range s.snapshot().Nodes(u.TailnetID) {
		if n.UserID == u.ID {
			nodes++
		}
	}
	return userView(u, nodes), nil
}

func (s *Server) deleteUser(r *http.Request) (any, error) {
	u, err := findUser(s.snapshot(), r.PathValue("user"))
	if err != nil {
		return nil, err
	}
	return userView(u, 0), s.cfg.Tailnet.DeleteUser(r.Context(), actor(r), u.ID)
}

func (s *Server) listAuthKeys(*http.Request) (any, error) {
	snap, now := s.snapshot(), time.Now()
	out := []AuthKey{}
	for k := range snap.AuthKeys(tailnet.DefaultTailnet) {
		out = append(out, authKeyView(snap, k, now))
	}
	return out, nil
}

func (s *Server) createAuthKey(r *http.Request) (any, error) {
	req, err := body[AuthKeyRequest](r)
	if err != nil {
		return nil, err
	}
	if req.Lifetime < 0 {
		return nil, badRequest("the lifetime %s of the auth key is negative", req.Lifetime)
	}
	u, err := findUser(s.snapshot(), req.User)
	if err != nil {
		return nil, err
	}
	p := tailnet.AuthKeyParams{
		UserID: u.ID, Reusable: req.Reusable, Ephemeral: req.Ephemeral, Preauthorized: !req.NeedsReview,
		Tags: req.Tags, Description: req.Description,
	}
	if req.Lifetime > 0 {
		p.Expiry = time.Now().Add(req.Lifetime)
	}
	k, secret, err := s.cfg.Tailnet.CreateAuthKey(r.Context(), actor(r), p)
	if err != nil {
		return nil, err
	}
	return NewAuthKey{
		AuthKey: authKeyView(s.snapshot(), k, time.Now()),
		Key:     secret,
		Join:    JoinCommand(s.cfg.Status().URL, secret),
	}, nil
}

// JoinCommand is the command that joins a node to the server at url.
func JoinCommand(url, authKey string) string {
	return "ginnel up --login-server " + url + " --auth-key " + authKey
}

func (s *Server) revokeAuthKey(r *http.Request) (any, error) {
	id, err := authKeyID(r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	k, err := s.cfg.Tailnet.RevokeAuthKey(r.Context(), actor(r), id)
	if err != nil {
		return nil, err
	}
	return authKeyView(s.snapshot(), k, time.Now()), nil
}

// authKeyID returns the ID that names an auth key: the number, or the key itself.
func authKeyID(ref string) (int64, error) {
	text := strings.TrimPrefix(ref, "gkey-auth-")
	text, _, _ = strings.Cut(text, "-")
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id <= 0 {
		return 0, badRequest("%.20q is not the number of an auth key", ref)
	}
	return id, nil
}

func (s *Server) listNodes(*http.Request) (any, error) {
	snap, now := s.snapshot(), time.Now()
	out := []Node{}
	for n := range snap.Nodes(tailnet.DefaultTailnet) {
		out = append(out, nodeView(snap, n, now))
	}
	return out, nil
}

// findNode returns the node with that ID, stable ID, name, address or node key.
func findNode(s *tailnet.Snapshot, ref string) *tailnet.Node {
	if id, err := strconv.ParseInt(ref, 10, 64); err == nil {
		if n := s.Node(control.NodeID(id)); n != nil {
			return n
		}
	}
	if n := s.NodeByName(tailnet.DefaultTailnet, strings.ToLower(ref)); n != nil {
		return n
	}
	if a, err := netip.ParseAddr(ref); err == nil {
		return s.NodeByAddr(a)
	}
	for n := range s.Nodes(tailnet.DefaultTailnet) {
		if string(n.StableID) == ref || n.Key.String() == ref {
			return n
		}
	}
	return nil
}

// onNode makes a handler for a request about one node. What fn returns is shown,
// the node as it was if that is nil.
func (s *Server) onNode(fn func(*http.Request, *tailnet.Node) (*tailnet.Node, error)) func(*http.Request) (any, error) {
	return func(r *http.Request) (any, error) {
		snap := s.snapshot()
		n := findNode(snap, r.PathValue("node"))
		if n == nil {
			return nil, &httpError{http.StatusNotFound, unknownNode(r.PathValue("node"))}
		}
		changed, err := fn(r, n)
		if err != nil {
			return nil, err
		}
		if changed != nil {
			n = changed
		}
		return nodeView(snap, n, time.Now()), nil
	}
}

func (s *Server) deleteNode(r *http.Request, n *tailnet.Node) (*tailnet.Node, error) {
	return nil, s.cfg.Tailnet.DeleteNode(r.Context(), actor(r), n.ID)
}

func (s *Server) renameNode(r *http.Request, n *tailnet.Node) (*tailnet.Node, error) {
	req, err := body[RenameRequest](r)
	if err != nil {
		return nil, err
	}
	return s.cfg.Tailnet.RenameNode(r.Context(), actor(r), n.ID, req.Name)
}

func (s *Server) tagNode(r *http.Request, n *tailnet.Node) (*tailnet.Node, error) {
	req, err := body[TagsRequest](r)
	if err != nil {
		return nil, err
	}
	return s.cfg.Tailnet.SetTags(r.Context(), actor(r), n.ID, req.Tags)
}

func (s *Server) expireNode(r *http.Request, n *tailnet.Node) (*tailnet.Node, error) {
	req, err := body[ExpireRequest](r)
	if err != nil {
		return nil, err
	}
	at := req.At
	switch {
	case req.Never && !at.IsZero():
		return nil, badRequest("a key cannot both expire at a time and never")
	case !req.Never && at.IsZero():
		at = time.Now()
	}
	return s.cfg.Tailnet.ExpireNode(r.Context(), actor(r), n.ID, at)
}

func (s *Server) approveNode(r *http.Request, n *tailnet.Node) (*tailnet.Node, error) {
	return s.cfg.Tailnet.AuthorizeNode(r.Context(), actor(r), n.ID)
}

func (s *Server) listLogins(*http.Request) (any, error) {
	out := []Login{}
	for _, l := range s.cfg.Tailnet.PendingLogins() {
		out = append(out, loginView(l))
	}
	return out, nil
}

func (s *Server) approveLogin(r *http.Request) (any, error) {
	req, err := body[ApproveRequest](r)
	if err != nil {
		return nil, err
	}
	u, err := findUser(s.snapshot(), req.User)
	if err != nil {
		return nil, err
	}
	n, err := s.cfg.Tailnet.ApproveLogin(r.Context(), actor(r), r.PathValue("id"), u.ID, req.Tags)
	if err != nil {
		return nil, err
	}
	return nodeView(s.snapshot(), n, time.Now()), nil
}

func (s *Server) denyLogin(r *http.Request) (any, error) {
	return struct{}{}, s.cfg.Tailnet.DenyLogin(r.Context(), actor(r), r.PathValue("id"))
}
