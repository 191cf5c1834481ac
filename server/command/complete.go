package command

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/ginnel/ginnel/internal/cli"
	"github.com/ginnel/ginnel/server/admin"
)

// completionPatience is how long completion waits for the server.
const completionPatience = 500 * time.Millisecond

// completer knows what arguments the commands take. Without a running server it
// knows none: completion stays silent.
func (e *env) completer(root *ffcli.Command) *cli.Completer {
	c := &cli.Completer{Args: map[*ffcli.Command]func(context.Context, []string) []cli.Candidate{},
		Values: map[string]func(context.Context) []cli.Candidate{"user": e.userCandidates}}
	first := func(candidates func(context.Context) []cli.Candidate, paths ...string) {
		for _, path := range paths {
			c.Args[cli.Find(root, path)] = func(ctx context.Context, before []string) []cli.Candidate {
				if len(before) > 0 {
					return nil
				}
				return candidates(ctx)
			}
		}
	}
	first(e.nodeCandidates, "nodes show", "nodes rename", "nodes tag", "nodes expire", "nodes delete")
	first(e.pendingCandidates, "nodes approve", "nodes register", "nodes deny")
	first(e.userCandidates, "users rename", "users delete")
	first(e.keyCandidates, "authkeys revoke")
	return c
}

// ask fills in a list that the running server has.
func (e *env) ask(ctx context.Context, out any, elems ...string) {
	ctx, cancel := context.WithTimeout(ctx, completionPatience)
	defer cancel()
	// What cannot be known is not suggested.
	_ = e.remote("complete").do(ctx, http.MethodGet, admin.Path(elems...), nil, out)
}

func (e *env) nodeCandidates(ctx context.Context) (out []cli.Candidate) {
	var nodes []admin.Node
	e.ask(ctx, &nodes, "nodes")
	for _, n := range nodes {
		out = append(out, cli.Candidate{Value: n.Name, Description: nodeState(n)})
	}
	return out
}

// pendingCandidates are the logins and the nodes that wait for approval.
func (e *env) pendingCandidates(ctx context.Context) (out []cli.Candidate) {
	var logins []admin.Login
	e.ask(ctx, &logins, "logins")
	for _, l := range logins {
		out = append(out, cli.Candidate{Value: l.ID, Description: printable(l.Hostname)})
	}
	var nodes []admin.Node
	e.ask(ctx, &nodes, "nodes")
	for _, n := range nodes {
		if !n.Authorized {
			out = append(out, cli.Candidate{Value: n.Name, Description: nodeState(n)})
		}
	}
	return out
}

func (e *env) userCandidates(ctx context.Context) (out []cli.Candidate) {
	var users []admin.User
	e.ask(ctx, &users, "users")
	for _, u := range users {
		out = append(out, cli.Candidate{Value: u.LoginName, Description: printable(u.DisplayName)})
	}
	return out
}

func (e *env) keyCandidates(ctx context.Context) (out []cli.Candidate) {
	var keys []admin.AuthKey
	e.ask(ctx, &keys, "authkeys")
	for _, k := range keys {
		out = append(out, cli.Candidate{Value: strconv.FormatInt(k.ID, 10), Description: printable(k.Description)})
	}
	return out
}
