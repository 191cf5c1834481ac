package main

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"

	"github.com/ginnel/ginnel/node/local/api"
)

// checkMentioned fails when up would set preferences to their defaults that the
// user has not mentioned. Without a login server there is nothing to lose yet. The
// login server itself needs no mention: it has no default to fall back to.
func (a *app) checkMentioned(j *joinFlags, wanted, prefs *api.Prefs) error {
	if prefs.ControlURL == "" {
		return nil
	}
	mentioned := given(j.fs)
	var missing []string
	for _, f := range j.table {
		now, then := f.get(prefs), f.get(wanted)
		if now == then || slices.Contains(mentioned, f.name) || f.name == "stateful-filtering" && now == "true" {
			continue
		}
		missing = append(missing, flagWord(f.name, now, f.isBool))
	}
	if len(missing) == 0 {
		return nil
	}
	words := []string{"ginnel", "up"}
	j.fs.Visit(func(f *flag.Flag) {
		words = append(words, givenWord(f))
	})
	slices.Sort(missing)
	words = append(words, missing...)
	return errors.New("Error: changing settings via 'ginnel up' requires mentioning all\n" +
		"non-default flags. To proceed, either re-run your command with --reset or\n" +
		"use the command below to explicitly mention the current value of\n" +
		"all non-default settings:\n\n\t" + strings.Join(words, " ") +
		"\n\nTo change only what you mention, use 'ginnel set'.\n")
}

// givenWord returns a given flag as a word for a shell, without a secret.
func givenWord(f *flag.Flag) string {
	text := f.Value.String()
	if isAuthKeyFlag("--"+f.Name) && !strings.HasPrefix(text, "file:") {
		text = "..."
	}
	b, ok := f.Value.(interface{ IsBoolFlag() bool })
	return flagWord(f.Name, text, ok && b.IsBoolFlag())
}

// flagWord returns a flag with its value as a word for a shell.
func flagWord(name, text string, isBool bool) string {
	if isBool && text == "true" {
		return "--" + name
	}
	return fmt.Sprintf("--%s=%s", name, shellQuoteValue(text))
}

// shellQuoteValue quotes a value where a shell would change it; nothing needs no
// quotes after an equals sign.
func shellQuoteValue(text string) string {
	if text == "" {
		return ""
	}
	return shellQuote(text)
}
