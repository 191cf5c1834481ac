package control

import "strings"

// maxLabel is the longest DNS label, in bytes.
const maxLabel = 63

// SanitizeHostname makes a DNS label of a host name by the rules of section 10.5:
// home-network suffixes go, at most 63 bytes stay, everything but ASCII letters and
// digits goes from both ends, and inside, blanks, dots, at signs and underscores
// become dashes and the rest goes; lower case. It returns the empty string when
// nothing is left.
func SanitizeHostname(name string) string {
	for _, suffix := range []string{".local", ".localdomain", ".lan"} {
		name = strings.TrimSuffix(name, suffix)
	}
	if len(name) > maxLabel {
		name = name[:maxLabel]
	}
	for name != "" && !isAlnum(name[0]) {
		name = name[1:]
	}
	for name != "" && !isAlnum(name[len(name)-1]) {
		name = name[:len(name)-1]
	}
	out := make([]byte, 0, len(name))
	for _, c := range []byte(name) {
		switch {
		case isAlnum(c), c == '-':
			out = append(out, c)
		case c == ' ', c == '.', c == '@', c == '_':
			out = append(out, '-')
		}
	}
	return strings.ToLower(string(out))
}

// ValidTag reports whether tag is "tag:", an ASCII letter, and then any number of
// letters, digits and dashes (section 4.6).
func ValidTag(tag string) bool {
	name, ok := strings.CutPrefix(tag, "tag:")
	if !ok || name == "" || !isLetter(name[0]) {
		return false
	}
	for _, c := range []byte(name) {
		if !isAlnum(c) && c != '-' {
			return false
		}
	}
	return true
}

// isLetter reports whether c is an ASCII letter.
func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

// isAlnum reports whether c is an ASCII letter or digit.
func isAlnum(c byte) bool { return isLetter(c) || '0' <= c && c <= '9' }
