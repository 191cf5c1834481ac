package control

import (
	"errors"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/ginnel/ginnel/server/maps"
	"github.com/ginnel/ginnel/server/tailnet"
	"github.com/ginnel/ginnel/wire/control"
)

// loginPath comes before the ID of a pending login in the URL that the user is
// shown.
const loginPath = "/register/"

// LoginURL returns the URL at which the pending login with that ID is decided,
// given the public URL of the server without a final slash.
func LoginURL(publicURL, id string) string { return publicURL + loginPath + id }

// serveRegister answers POST /machine/register (wire document control, section
// 4). With a Followup it holds the answer until the login is decided.
func (s *Server) serveRegister(w http.ResponseWriter, r *http.Request, conn *nodeConn) {
	var req control.RegisterRequest
	if !s.decode(w, r, conn, "register", &req) {
		return
	}
	if !req.Version.Supported() {
		// Not by the status, which nodes only log.
		s.reply(w, "register", &control.RegisterResponse{Error: unsupportedVersion(req.Version)})
		return
	}
	params, err := registerParams(&req, conn)
	if !s.admitRegister(w, &req, params, time.Now()) {
		return
	}
	var res tailnet.RegisterResult
	if err == nil {
		res, err = s.cfg.Tailnet.Register(r.Context(), params)
	}
	if err == nil && res.Status == tailnet.Registered {
		conn.admit()
	}
	if isRefusal(err) || res.Status == tailnet.LoginPending {
		s.limit.failed(params.Machine, params.From, time.Now())
	}
	switch {
	case err == nil:
		s.reply(w, "register", s.registerResponse(res, conn))
	case r.Context().Err() != nil:
		s.metrics.request("register", statusGone)
	case errors.Is(err, tailnet.ErrClosed):
		s.refuse(w, "register", http.StatusServiceUnavailable, "the server is shutting down")
	case isRefusal(err):
		s.log.Info("registration refused", "machine", conn.Peer().ShortString(), "from", conn.from, "why", err)
		s.metrics.refused.Inc()
		s.reply(w, "register", &control.RegisterResponse{Error: err.Error()})
	default:
		s.log.Error("registration failed", "machine", conn.Peer().ShortString(), "err", err)
		s.refuse(w, "register", http.StatusInternalServerError, "internal error")
	}
}

var errFollowup = errors.New("invalid followup URL")

func registerParams(req *control.RegisterRequest, conn *nodeConn) (tailnet.RegisterParams, error) {
	p := tailnet.RegisterParams{
		Machine:      conn.Peer(),
		NodeKey:      req.NodeKey,
		OldNodeKey:   req.OldNodeKey,
		LockKey:      req.NLKey,
		KeySignature: req.NodeKeySignature,
		Expiry:       req.Expiry,
		Ephemeral:    req.Ephemeral,
		Hostinfo:     req.Hostinfo,
		Cap:          req.Version,
		From:         conn.from,
	}
	if req.Auth != nil {
		p.AuthKey = req.Auth.AuthKey
	}
	if req.Followup != "" {
		u, err := url.Parse(req.Followup)
		if err != nil || !strings.HasSuffix(path.Dir(u.Path)+"/", loginPath) || path.Base(u.Path) == "register" {
			return p, errFollowup
		}
		p.FollowupID = path.Base(u.Path)
	}
	return p, nil
}

// isRefusal reports whether the text of err is meant for the node's user.
func isRefusal(err error) bool {
	for _, refusal := range []error{
		errFollowup,
		tailnet.ErrAuthKeyInvalid, tailnet.ErrAuthKeyExpired, tailnet.ErrAuthKeyUsed, tailnet.ErrAuthKeyRevoked,
		tailnet.ErrWrongMachine, tailnet.ErrExtendExpiry, tailnet.ErrLoginDenied, tailnet.ErrLoginUnknown,
		tailnet.ErrTags, tailnet.ErrPoolEmpty, tailnet.ErrKeyMissing, tailnet.ErrTooLarge,
	} {
		if errors.Is(err, refusal) {
			return true
		}
	}
	return false
}

func (s *Server) registerResponse(res tailnet.RegisterResult, conn *nodeConn) *control.RegisterResponse {
	var out control.RegisterResponse
	switch res.Status {
	case tailnet.LoginPending:
		base := s.cfg.PublicURL
		if base == "" {
			base = conn.base
		}
		out.AuthURL = LoginURL(base, res.LoginID)
		return &out
	case tailnet.KeyExpired, tailnet.LoggedOut:
		out.NodeKeyExpired = true
	}
	if res.Node == nil {
		return &out
	}
	out.MachineAuthorized = res.Node.Authorized
	owner := maps.OwnerProfile(s.cfg.Tailnet.Snapshot(), res.Node)
	out.User = control.User{ID: owner.ID, DisplayName: owner.DisplayName, ProfilePicURL: owner.ProfilePicURL}
	out.Login = control.Login{
		ID:            control.LoginID(owner.ID),
		Provider:      "ginnel",
		LoginName:     owner.LoginName,
		DisplayName:   owner.DisplayName,
		ProfilePicURL: owner.ProfilePicURL,
	}
	if u := res.User; u != nil && u.ID == owner.ID {
		out.User.Created = u.Created
	}
	return &out
}
