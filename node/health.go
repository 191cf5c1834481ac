package node

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/wire/control"
)

// patience is how long a passing trouble may last before it is worth a warning.
const patience = 10 * time.Second

// warnClock is our own warning about a clock that is off.
const warnClock api.WarnableCode = "clock-skew"

// problem is one thing that does not work.
type problem struct {
	Code     api.WarnableCode
	Severity control.Severity
	Title    string
	Text     string
	Since    time.Time // zero when not known
	Impact   bool      // connections suffer
	Action   *control.DisplayMessageAction
}

// healthState puts problems into the form of the local API.
func healthState(problems []problem) *api.HealthState {
	h := &api.HealthState{Warnings: map[api.WarnableCode]api.UnhealthyState{}}
	for _, p := range problems {
		u := api.UnhealthyState{
			WarnableCode: p.Code, Severity: p.Severity, Title: p.Title, Text: p.Text, ImpactsConnectivity: p.Impact,
			PrimaryAction: p.Action,
		}
		if !p.Since.IsZero() {
			since := p.Since
			u.BrokenSince = &since
		}
		h.Warnings[p.Code] = u
	}
	return h
}

// healthTexts returns the texts of the problems for the status.
func healthTexts(problems []problem) []string {
	texts := []string{}
	for _, p := range problems {
		text := p.Text
		if p.Action != nil {
			text += " " + p.Action.Label + ": " + p.Action.URL
		}
		texts = append(texts, text)
	}
	return texts
}

// problems returns everything that is wrong, from what the loop published and
// from the plane, sorted by code.
func (n *Node) problems(v *view, now time.Time) []problem {
	var list []problem
	add := func(p problem) { list = append(list, p) }
	if v.StoreErr != nil {
		text := "What was changed last cannot be stored and will be lost at the next start: " + v.StoreErr.Error()
		add(problem{Code: api.WarnStateStore, Severity: control.SeverityHigh, Title: "State", Text: text})
	}
	switch v.State {
	case api.Stopped:
		add(problem{Code: api.WarnWantRunningFalse, Severity: control.SeverityLow, Title: "Down", Text: "Ginnel is stopped."})
		return list
	case api.NeedsLogin:
		text := "You are logged out."
		if v.LoginErr != nil && v.Trying {
			text = v.LoginErr.Error()
		} else if v.LoginErr != nil {
			text = "You are logged out. The last login error was: " + v.LoginErr.Error()
		} else if v.Expired {
			text = "The key of this node has expired or is no longer accepted; log in again."
		}
		add(problem{Code: api.WarnLoginState, Severity: control.SeverityMedium, Title: "Logged out", Text: text})
		return list
	case api.NoState, api.NeedsMachineAuth:
	}
	if v.LoginErr != nil {
		add(problem{Code: api.WarnLoginState, Severity: control.SeverityMedium, Title: "Login", Text: v.LoginErr.Error()})
	} else if v.ControlErr != nil && now.Sub(v.ControlDown) >= patience {
		text := fmt.Sprintf("Out of contact with the coordination server since %s: %v", v.ControlDown.UTC().Format(time.RFC3339), v.ControlErr)
		add(problem{Code: api.WarnNotInMapPoll, Severity: control.SeverityMedium, Title: "Out of sync", Text: text, Since: v.ControlDown})
	}
	if m := v.Map; m != nil {
		if m.Skew != 0 && m.ClockTrusted {
			text := fmt.Sprintf("This machine's clock differs from the coordination server's by %v; set it right.", m.Skew.Abs().Round(time.Second))
			add(problem{Code: warnClock, Severity: control.SeverityMedium, Title: "Clock", Text: text})
		}
		list = append(list, serverMessages(m.DisplayMessages, m.Health)...)
	}
	if v.PlaneErr != nil {
		add(problem{Code: "network-setup", Severity: control.SeverityHigh, Title: "Network setup", Text: v.PlaneErr.Error(), Impact: true})
	}
	list = append(list, n.plane.Problems()...)
	slices.SortFunc(list, func(a, b problem) int { return cmp.Compare(a.Code, b.Code) })
	return list
}

// serverMessages are what the server wants its users to know.
func serverMessages(messages map[control.DisplayMessageID]*control.DisplayMessage, legacy []string) []problem {
	var list []problem
	for id, m := range messages {
		if m != nil {
			list = append(list, problem{
				Code: api.WarnableCode(id), Severity: m.Severity, Title: m.Title, Text: m.Text, Impact: m.ImpactsConnectivity,
				Action: m.PrimaryAction,
			})
		}
	}
	if len(list) > 0 {
		return list
	}
	for i, text := range legacy {
		list = append(list, problem{
			Code:     api.WarnableCode(fmt.Sprintf("control-health-%d", i)),
			Severity: control.SeverityMedium, Title: "Coordination server", Text: text,
		})
	}
	return list
}
