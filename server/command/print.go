package command

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/ginnel/ginnel/server/admin"
)

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// table prints rows under a header. Cells may hold text of strangers.
func table(w io.Writer, header string, rows [][]string) {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(tw, strings.ReplaceAll(header, " ", "\t"))
	for _, row := range rows {
		for i := range row {
			row[i] = printable(row[i])
		}
		fmt.Fprintln(tw, strings.Join(row, "\t"))
	}
	tw.Flush()
}

// printable returns text without what could play tricks on a terminal, "-" for
// nothing.
func printable(s string) string {
	if s == "" {
		return "-"
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// ago says how long ago or ahead a time is, "-" for no time.
func ago(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	d, format := now.Sub(t), "%s ago"
	if d < 0 {
		d, format = -d, "in %s"
	}
	switch {
	case d < time.Minute:
		return fmt.Sprintf(format, strconv.Itoa(int(d.Seconds()))+"s")
	case d < time.Hour:
		return fmt.Sprintf(format, strconv.Itoa(int(d.Minutes()))+"m")
	case d < 48*time.Hour:
		return fmt.Sprintf(format, strconv.Itoa(int(d.Hours()))+"h")
	}
	return fmt.Sprintf(format, strconv.Itoa(int(d.Hours()/24))+"d")
}

// until is ago for the end of something that may never come.
func until(t, now time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return ago(t, now)
}

func addresses(n admin.Node) string {
	var out []string
	for _, a := range n.Addresses {
		out = append(out, a.String())
	}
	return strings.Join(out, ", ")
}

// nodeState says in a few words how a node is.
func nodeState(n admin.Node) string {
	switch {
	case n.Expired:
		return "expired"
	case !n.Authorized:
		return "needs approval"
	case n.Online:
		return "online"
	}
	return "offline"
}

// owner is who a node acts as.
func owner(n admin.Node) string {
	if len(n.Tags) > 0 {
		return strings.Join(n.Tags, ",")
	}
	return n.User
}

func printNodes(w io.Writer, nodes []admin.Node, now time.Time) {
	var rows [][]string
	for _, n := range nodes {
		var first string
		if len(n.Addresses) > 0 {
			first = n.Addresses[0].String()
		}
		seen := ago(n.LastSeen, now)
		if n.Online {
			seen = "now"
		}
		rows = append(rows, []string{strconv.FormatInt(int64(n.ID), 10), n.Name, first, owner(n), n.OS, nodeState(n), seen, until(n.KeyExpiry, now)})
	}
	table(w, "ID NAME ADDRESS OWNER OS STATE SEEN EXPIRES", rows)
}

func printNode(w io.Writer, n admin.Node) {
	stamp := func(t time.Time, none string) string {
		if t.IsZero() {
			return none
		}
		return t.Local().Format(time.RFC3339)
	}
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, row := range [][2]string{
		{"ID", fmt.Sprintf("%d (%s)", n.ID, n.StableID)},
		{"Name", n.Name},
		{"Host name", n.Hostname},
		{"State", nodeState(n)},
		{"Owner", n.User},
		{"Tags", strings.Join(n.Tags, " ")},
		{"Addresses", addresses(n)},
		{"Endpoints", strings.Join(n.Endpoints, " ")},
		{"Home relay", strconv.Itoa(n.HomeDERP)},
		{"System", n.OS},
		{"Version", fmt.Sprintf("%s (capability %d)", n.Version, n.Cap)},
		{"Ephemeral", strconv.FormatBool(n.Ephemeral)},
		{"Created", stamp(n.Created, "")},
		{"Last seen", stamp(n.LastSeen, "never")},
		{"Key expires", stamp(n.KeyExpiry, "never")},
		{"Node key", n.NodeKey},
		{"Machine key", n.MachineKey},
		{"Disco key", n.DiscoKey},
	} {
		fmt.Fprintf(tw, "%s:\t%s\n", row[0], printable(row[1]))
	}
	tw.Flush()
}

func printLogins(w io.Writer, logins []admin.Login, now time.Time) {
	var rows [][]string
	for _, l := range logins {
		from := ""
		if l.From.IsValid() {
			from = l.From.String()
		}
		rows = append(rows, []string{l.ID, l.Hostname, l.OS, strings.Join(l.Tags, ","), from, ago(l.Created, now)})
	}
	table(w, "ID HOSTNAME OS TAGS FROM SINCE", rows)
}

func printUsers(w io.Writer, users []admin.User) {
	var rows [][]string
	for _, u := range users {
		rows = append(rows, []string{strconv.FormatInt(int64(u.ID), 10), u.LoginName, u.DisplayName, strconv.Itoa(u.Nodes), u.Created.Local().Format(time.DateOnly)})
	}
	table(w, "ID LOGIN NAME NODES CREATED", rows)
}

func printAuthKeys(w io.Writer, keys []admin.AuthKey, now time.Time) {
	var rows [][]string
	for _, k := range keys {
		kind := "one-off"
		if k.Reusable {
			kind = "reusable"
		}
		if k.Ephemeral {
			kind += ",ephemeral"
		}
		rows = append(rows, []string{strconv.FormatInt(k.ID, 10), k.User, kind, strings.Join(k.Tags, ","), k.State,
			strconv.FormatInt(k.Uses, 10), ago(k.Created, now), until(k.Expiry, now), k.Description})
	}
	table(w, "ID USER KIND TAGS STATE USES CREATED EXPIRES DESCRIPTION", rows)
}

// publicKey is a key in full, of which people need the beginning alone.
var publicKey = regexp.MustCompile(`\b([a-z]+key:[0-9a-f]{8})[0-9a-f]{56}\b`)

// detail is the detail of an audit record for people, without what is not there.
func detail(text string) string {
	var members map[string]any
	if json.Unmarshal([]byte(text), &members) != nil {
		return text
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if members[name] == nil {
			continue
		}
		value := fmt.Sprint(members[name])
		if value == "" || strings.ContainsAny(value, " =\"") {
			value = strconv.Quote(value)
		}
		parts = append(parts, name+"="+value)
	}
	return publicKey.ReplaceAllString(strings.Join(parts, " "), "$1…")
}

func printAudit(w io.Writer, records []admin.AuditRecord) {
	var rows [][]string
	for _, r := range records {
		rows = append(rows, []string{strconv.FormatUint(r.Seq, 10), r.At.Local().Format(time.DateTime), r.Actor, r.Action, r.Target, detail(r.Detail)})
	}
	table(w, "SEQ TIME WHO ACTION TARGET DETAIL", rows)
}

func printStatus(w io.Writer, st admin.Status, now time.Time) {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, row := range [][2]string{
		{"URL", st.URL},
		{"Version", st.Version},
		{"Listening on", strings.Join(st.Listen, " ")},
		{"Relay", st.Relay},
		{"STUN", st.STUN},
		{"Data", st.DataDir},
		{"Started", ago(st.Started, now)},
		{"Nodes", fmt.Sprintf("%d, %d online", st.Nodes, st.Online)},
		{"Users", strconv.Itoa(st.Users)},
		{"Waiting logins", strconv.Itoa(st.Pending)},
	} {
		fmt.Fprintf(tw, "%s:\t%s\n", row[0], printable(row[1]))
	}
	tw.Flush()
}
