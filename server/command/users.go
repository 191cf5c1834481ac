package command

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/ginnel/ginnel/internal/cli"
	"github.com/ginnel/ginnel/server"
	"github.com/ginnel/ginnel/server/admin"
)

func (e *env) usersCommand() *ffcli.Command {
	return group("users", "List, create, rename and delete users", e.usersList(), e.usersCreate(), e.usersRename(), e.usersDelete())
}

func (e *env) usersList() *ffcli.Command {
	r := e.remote("list")
	return &ffcli.Command{
		Name: "list", ShortUsage: Name + " users list [flags]", ShortHelp: "List all users", FlagSet: r.fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := cli.Args(args); err != nil {
				return err
			}
			var users []admin.User
			if err := r.do(ctx, http.MethodGet, admin.Path("users"), nil, &users); err != nil {
				return err
			}
			return r.print(users, func(w io.Writer) { printUsers(w, users) })
		},
	}
}

func (e *env) usersCreate() *ffcli.Command {
	r := e.remote("create")
	display := r.fs.String("display-name", "", "`name` to show (default: the login name)")
	return e.userCommand(r, "create", " <login name>", "Add a user", "User %s is created.", []string{"the login name"},
		func(args []string) (string, string, any) {
			return http.MethodPost, admin.Path("users"), admin.UserRequest{LoginName: args[0], DisplayName: *display}
		})
}

func (e *env) usersRename() *ffcli.Command {
	r := e.remote("rename")
	display := r.fs.String("display-name", "", "`name` to show (default: as it is)")
	return e.userCommand(r, "rename", " <user> <new login name>", "Rename a user", "The user is now called %s.",
		[]string{"the user", "the new login name"},
		func(args []string) (string, string, any) {
			return http.MethodPatch, admin.Path("users", args[0]), admin.UserRequest{LoginName: args[1], DisplayName: *display}
		})
}

func (e *env) usersDelete() *ffcli.Command {
	return e.userCommand(e.remote("delete"), "delete", " <user>", "Remove a user who owns no nodes, and the user's auth keys",
		"User %s is deleted.", []string{"the user"},
		func(args []string) (string, string, any) { return http.MethodDelete, admin.Path("users", args[0]), nil })
}

// userCommand makes a command about one user.
func (e *env) userCommand(r *remote, name, argUsage, short, done string, what []string, request func(args []string) (method, path string, body any)) *ffcli.Command {
	full := "users " + name
	return &ffcli.Command{
		Name: name, ShortUsage: Name + " " + full + " [flags]" + argUsage, ShortHelp: short, FlagSet: r.fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := cli.Args(args, what...); err != nil {
				return err
			}
			method, path, body := request(args)
			var u admin.User
			if err := r.do(ctx, method, path, body, &u); err != nil {
				return err
			}
			return r.print(u, func(w io.Writer) { fmt.Fprintf(w, done+"\n", u.LoginName) })
		},
	}
}

func (e *env) authKeysCommand() *ffcli.Command {
	return group("authkeys", "List, create and revoke keys with which nodes join", e.authKeysList(), e.authKeysCreate(), e.authKeysRevoke())
}

func (e *env) authKeysList() *ffcli.Command {
	r := e.remote("list")
	return &ffcli.Command{
		Name: "list", ShortUsage: Name + " authkeys list [flags]", ShortHelp: "List all auth keys, without their secrets", FlagSet: r.fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := cli.Args(args); err != nil {
				return err
			}
			var keys []admin.AuthKey
			if err := r.do(ctx, http.MethodGet, admin.Path("authkeys"), nil, &keys); err != nil {
				return err
			}
			return r.print(keys, func(w io.Writer) { printAuthKeys(w, keys, time.Now()) })
		},
	}
}

func (e *env) authKeysCreate() *ffcli.Command {
	r := e.remote("create")
	var req admin.AuthKeyRequest
	r.fs.StringVar(&req.User, "user", "", "`user` who will own the nodes (default: the only one)")
	r.fs.BoolVar(&req.Reusable, "reusable", false, "more than one node may join with the key")
	r.fs.BoolVar(&req.Ephemeral, "ephemeral", false, "nodes that join with the key are removed when they have been offline for a while")
	r.fs.BoolVar(&req.NeedsReview, "needs-approval", false, "nodes that join with the key wait for approval, where the server asks for it")
	r.fs.StringVar(&req.Description, "description", "", "`text` to recognise the key by")
	tags := r.fs.String("tags", "", "`tags` that the nodes get, separated by commas")
	expiry := r.fs.String("expiry", "24h", "`time` for which the key is accepted, such as 90m or 30d; 0 is for ever")
	return &ffcli.Command{
		Name: "create", ShortUsage: Name + " authkeys create [flags]", ShortHelp: "Make an auth key and print it, once", FlagSet: r.fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := cli.Args(args); err != nil {
				return err
			}
			lifetime, err := server.ParseDuration(*expiry)
			if err != nil {
				return cli.Usagef("--expiry: %v", err)
			}
			req.Lifetime, req.Tags = lifetime, splitTags(*tags)
			var k admin.NewAuthKey
			if err := r.do(ctx, http.MethodPost, admin.Path("authkeys"), req, &k); err != nil {
				return err
			}
			return r.print(k, func(w io.Writer) { e.printNewAuthKey(w, k) })
		},
	}
}

// printNewAuthKey prints a new key: alone where a program reads it, with the
// command to use it where a person does.
func (e *env) printNewAuthKey(w io.Writer, k admin.NewAuthKey) {
	if !isTerminal(w) {
		fmt.Fprintln(w, k.Key)
		return
	}
	fmt.Fprintf(w, "%s\n\nIt is not shown again. Join a machine with it:\n\n  %s\n", k.Key, k.Join)
}

func (e *env) authKeysRevoke() *ffcli.Command {
	r := e.remote("revoke")
	return &ffcli.Command{
		Name: "revoke", ShortUsage: Name + " authkeys revoke [flags] <number or key>", ShortHelp: "Stop a key from being accepted; nodes that joined with it stay", FlagSet: r.fs,
		Exec: func(ctx context.Context, args []string) error {
			if err := cli.Args(args, "the number of the key, or the key itself"); err != nil {
				return err
			}
			var k admin.AuthKey
			if err := r.do(ctx, http.MethodPost, admin.Path("authkeys", args[0], "revoke"), nil, &k); err != nil {
				return err
			}
			return r.print(k, func(w io.Writer) { fmt.Fprintf(w, "Auth key %d is revoked.\n", k.ID) })
		},
	}
}
