package command

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/ginnel/ginnel/internal/cli"
	"github.com/ginnel/ginnel/server"
	"github.com/ginnel/ginnel/server/admin"
)

func (e *env) nodesCommand() *ffcli.Command {
	return group("nodes", "List, show, approve, rename, tag, expire and delete nodes",
		e.nodesList(), e.nodesShow(), e.nodesApprove("approve", "Let a node in: one that shows a login link, or one that waits for approval"),
		e.nodesApprove("register", "The same as approve"), e.nodesDeny(), e.nodesPending(),
		e.nodesRename(), e.nodesTag(), e.nodesExpire(), e.nodesDelete())
}

const nodeRef = "the node: its number, name, address or key"

// nodeCommand makes a command about one node. request makes the request from the
// arguments after the node.
func (e *env) nodeCommand(r *remote, name, argUsage, short, done string, what []string,
	request func(args []string) (method string, elems []string, body any, err error)) *ffcli.Command {
	full := "nodes " + name
	return &ffcli.Command{
		Name: name, ShortUsage: Name + " " + full + " [flags] <node>" + argUsage, ShortHelp: short, FlagSet: r.fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := cli.Args(args, append([]string{nodeRef}, what...)...); err != nil {
				return err
			}
			method, elems, body, err := request(args[1:])
			if err != nil {
				return err
			}
			var n admin.Node
			if err := r.do(ctx, method, admin.Path(append([]string{"nodes", args[0]}, elems...)...), body, &n); err != nil {
				return err
			}
			return r.print(n, func(w io.Writer) {
				if done == "" {
					printNode(w, n)
					return
				}
				fmt.Fprintf(w, done+"\n", n.Name)
			})
		},
	}
}

func (e *env) nodesList() *ffcli.Command {
	r := e.remote("list")
	return &ffcli.Command{
		Name: "list", ShortUsage: Name + " nodes list [flags]", ShortHelp: "List all nodes", FlagSet: r.fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := cli.Args(args); err != nil {
				return err
			}
			var nodes []admin.Node
			if err := r.do(ctx, http.MethodGet, admin.Path("nodes"), nil, &nodes); err != nil {
				return err
			}
			return r.print(nodes, func(w io.Writer) { printNodes(w, nodes, time.Now()) })
		},
	}
}

func (e *env) nodesShow() *ffcli.Command {
	return e.nodeCommand(e.remote("show"), "show", "", "Show everything known of a node", "", nil,
		func([]string) (string, []string, any, error) { return http.MethodGet, nil, nil, nil })
}

func (e *env) nodesRename() *ffcli.Command {
	return e.nodeCommand(e.remote("rename"), "rename", " <name>", `Name a node; "" lets it follow its host name again`,
		"The node is now called %s.", []string{"the new name"},
		func(args []string) (string, []string, any, error) {
			return http.MethodPost, []string{"rename"}, admin.RenameRequest{Name: args[0]}, nil
		})
}

func (e *env) nodesTag() *ffcli.Command {
	return e.nodeCommand(e.remote("tag"), "tag", " <tag,tag,...>", `Replace the tags of a node; "" takes them all`,
		"The tags of %s are set.", []string{"the tags"},
		func(args []string) (string, []string, any, error) {
			return http.MethodPost, []string{"tags"}, admin.TagsRequest{Tags: splitTags(args[0])}, nil
		})
}

func (e *env) nodesDelete() *ffcli.Command {
	return e.nodeCommand(e.remote("delete"), "delete", "", "Remove a node from the network", "%s is deleted.", nil,
		func([]string) (string, []string, any, error) { return http.MethodDelete, nil, nil, nil })
}

func (e *env) nodesExpire() *ffcli.Command {
	r := e.remote("expire")
	never := r.fs.Bool("never", false, "the node's key never expires")
	in := r.fs.String("in", "", "`time` from now at which it expires, such as 12h or 30d (default at once)")
	return e.nodeCommand(r, "expire", "", "Make a node log in again, now or later, or never", "The expiry of %s is set.", nil,
		func([]string) (string, []string, any, error) {
			req := admin.ExpireRequest{Never: *never}
			if *in != "" {
				d, err := server.ParseDuration(*in)
				if err != nil {
					return "", nil, nil, cli.Usagef("--in: %v", err)
				}
				req.At = time.Now().Add(d)
			}
			return http.MethodPost, []string{"expire"}, req, nil
		})
}

// nodesApprove approves a pending login or a node that waits for approval,
// whichever the argument names.
func (e *env) nodesApprove(name, short string) *ffcli.Command {
	r := e.remote(name)
	user := r.fs.String("user", "", "`user` who will own the node (default: the only one)")
	tags := r.fs.String("tags", "", "`tags` that the node gets, separated by commas (default: those it asks for)")
	full := "nodes " + name
	return &ffcli.Command{
		Name: name, ShortUsage: Name + " " + full + " [flags] <login link or ID, or node>", ShortHelp: short, FlagSet: r.fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := cli.Args(args, "the login link, or the node that waits"); err != nil {
				return err
			}
			var n admin.Node
			req := admin.ApproveRequest{User: *user, Tags: splitTags(*tags)}
			err := r.do(ctx, http.MethodPost, admin.Path("logins", loginID(args[0]), "approve"), req, &n)
			if admin.IsNotFound(err) && !strings.Contains(args[0], "/register/") {
				// Not a pending login; perhaps a node.
				if err = r.do(ctx, http.MethodPost, admin.Path("nodes", args[0], "approve"), nil, &n); admin.IsNotFound(err) {
					err = nothingWaits(args[0])
				}
			}
			if err != nil {
				return err
			}
			return r.print(n, func(w io.Writer) { fmt.Fprintf(w, "%s is in the network, at %s.\n", n.Name, addresses(n)) })
		},
	}
}

// nothingWaits says that a word is neither a pending login nor a node.
func nothingWaits(word string) error {
	return fmt.Errorf("no such login or node: %q is not the ID of a login that waits (it may have been decided already or have expired), "+
		"nor a node's number, name, address or key\nSee '%s nodes pending' and '%[2]s nodes list'", word, Name)
}

func (e *env) nodesDeny() *ffcli.Command {
	r := e.remote("deny")
	return &ffcli.Command{
		Name: "deny", ShortUsage: Name + " nodes deny [flags] <login link or ID>", ShortHelp: "Refuse a node that shows a login link", FlagSet: r.fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := cli.Args(args, "the login link"); err != nil {
				return err
			}
			if err := r.do(ctx, http.MethodPost, admin.Path("logins", loginID(args[0]), "deny"), nil, nil); err != nil {
				return err
			}
			return r.print(struct{}{}, func(w io.Writer) { fmt.Fprintln(w, "The login is refused.") })
		},
	}
}

func (e *env) nodesPending() *ffcli.Command {
	r := e.remote("pending")
	return &ffcli.Command{
		Name: "pending", ShortUsage: Name + " nodes pending [flags]", ShortHelp: "List logins that wait for approval", FlagSet: r.fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := cli.Args(args); err != nil {
				return err
			}
			var logins []admin.Login
			if err := r.do(ctx, http.MethodGet, admin.Path("logins"), nil, &logins); err != nil {
				return err
			}
			return r.print(logins, func(w io.Writer) { printLogins(w, logins, time.Now()) })
		},
	}
}

// loginID returns the ID at the end of a login link, or the text as it is.
func loginID(ref string) string {
	if u, err := url.Parse(ref); err == nil && u.Scheme != "" {
		return path.Base(u.Path)
	}
	return ref
}

// splitTags takes a list of tags apart; tags without their prefix get it.
func splitTags(text string) []string {
	var out []string
	for tag := range strings.SplitSeq(text, ",") {
		if tag = strings.TrimSpace(tag); tag == "" {
			continue
		}
		if !strings.HasPrefix(tag, "tag:") {
			tag = "tag:" + tag
		}
		out = append(out, tag)
	}
	return out
}
