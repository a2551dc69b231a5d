package system

import "strings"

// challenge is one of a Www-Authenticate header: a scheme in small letters and its
// parameters.
type challenge struct {
	scheme     string
	parameters map[string]string
}

// choose takes the first challenge that a login can answer, bearer before basic.
func choose(headers []string) (challenge, bool) {
	var found challenge
	for _, h := range headers {
		c, ok := parseChallenge(h)
		switch {
		case !ok:
		case c.scheme == "bearer":
			return c, true
		case c.scheme == "basic" && found.scheme == "":
			found = c
		}
	}
	return found, found.scheme != ""
}

// parseChallenge reads `Bearer realm="https://x/token",service="y"`.
func parseChallenge(header string) (challenge, bool) {
	scheme, rest, _ := strings.Cut(strings.TrimSpace(header), " ")
	c := challenge{strings.ToLower(scheme), map[string]string{}}
	for rest = strings.TrimLeft(rest, " ,"); rest != ""; rest = strings.TrimLeft(rest, " ,") {
		name, after, ok := strings.Cut(rest, "=")
		if !ok {
			return c, false
		}
		var value string
		if quoted, ok := strings.CutPrefix(after, `"`); ok {
			if value, rest, ok = unquote(quoted); !ok {
				return c, false
			}
		} else {
			end := strings.IndexAny(after, ", ")
			if end < 0 {
				end = len(after)
			}
			value, rest = after[:end], after[end:]
		}
		c.parameters[strings.ToLower(strings.TrimSpace(name))] = value
	}
	return c, c.scheme != ""
}

// unquote reads up to the quotation mark that ends a quoted string.
func unquote(s string) (value, rest string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:], true
		case s[i] == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(s[i])
		}
	}
	return "", "", false
}
