package tree

import "strings"

// Substitute puts variables, as ${name}, into a text. One that is not set stays as
// it is.
func Substitute(text string, vars map[string]any) string {
	for name, v := range vars {
		text = strings.ReplaceAll(text, "${"+name+"}", Text(v))
	}
	return text
}

// SubstituteAll puts variables into the strings and member names of a value; a string that is one
// variable becomes its value.
func SubstituteAll(v any, vars map[string]any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			out[Substitute(k, vars)] = SubstituteAll(x, vars)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = SubstituteAll(x, vars)
		}
		return out
	case string:
		if strings.HasPrefix(v, "${") && strings.HasSuffix(v, "}") {
			if x, ok := vars[v[2:len(v)-1]]; ok {
				return x
			}
		}
		return Substitute(v, vars)
	}
	return v
}
