package core

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
)

// tree is the JSON form of v as maps, lists and numbers.
func tree(v any) any {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	var out any
	if err := json.Unmarshal(data, &out); err != nil {
		panic(err)
	}
	return out
}

// statusForm brings a Status to the form in which answers are recorded: causes in
// order, differences and objects cut out of messages.
func statusForm(v any) any {
	s := v.(map[string]any)
	details := s["details"].(map[string]any)
	causes, _ := details["causes"].([]any)
	for _, c := range causes {
		c := c.(map[string]any)
		c["message"] = messageForm(c["message"].(string))
	}
	slices.SortFunc(causes, func(a, b any) int { return strings.Compare(text(a), text(b)) })
	message := messageForm(s["message"].(string))
	if len(causes) > 1 {
		if i := strings.Index(message, " is invalid: ["); i >= 0 {
			message = message[:i] + " is invalid: [<causes>]"
		}
	}
	s["message"] = message
	return s
}

func text(v any) string {
	data, _ := json.Marshal(v)
	return string(data)
}

var objectValue = regexp.MustCompile(`Invalid value: "\{(?:[^"\\]|\\.)*\}"`)

func messageForm(m string) string {
	if i := strings.Index(m, "\n@@ "); i >= 0 {
		m = m[:i] + " <diff>"
	}
	return objectValue.ReplaceAllString(m, `Invalid value: "<object>"`)
}

var (
	timeText   = regexp.MustCompile(`20(2[6-9]|[3-9]\d)-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)`)
	uidText    = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	accessText = regexp.MustCompile(`kube-api-access-([bcdfghjklmnpqrstvwxz2456789]{5}|<suffix>)`)
	ageCell    = regexp.MustCompile(`^(\d+[smhdy])+( ago)?$`)
	generated  = regexp.MustCompile(`bcdfg\b|<suffix>`)
)

// normal leaves out what only a server knows and replaces what differs from one run
// to the next.
func normal(v any, mask []string) any {
	m, ok := v.(map[string]any)
	if ok {
		if meta, ok := m["metadata"].(map[string]any); ok {
			for _, key := range []string{"uid", "creationTimestamp", "resourceVersion", "managedFields", "generation",
				"deletionTimestamp", "deletionGracePeriodSeconds"} {
				delete(meta, key)
			}
		}
		for _, path := range mask {
			remove(m, strings.Split(path, "/"))
		}
		if spec, ok := m["spec"].(map[string]any); ok && m["kind"] == "Service" {
			serviceForm(spec)
		}
	}
	return strs(v)
}

func remove(m map[string]any, path []string) {
	for len(path) > 1 {
		next, ok := m[path[0]].(map[string]any)
		if !ok {
			return
		}
		m, path = next, path[1:]
	}
	delete(m, path[0])
}

func serviceForm(spec map[string]any) {
	if ip, _ := spec["clusterIP"].(string); strings.HasPrefix(ip, "10.") || ip == "<ip>" {
		spec["clusterIP"] = "<ip>"
		if list, _ := spec["clusterIPs"].([]any); len(list) > 0 {
			list[0] = "<ip>"
		}
	}
	if spec["healthCheckNodePort"] != nil {
		spec["healthCheckNodePort"] = "<nodePort>"
	}
	ports, _ := spec["ports"].([]any)
	for _, p := range ports {
		if p := p.(map[string]any); p["nodePort"] != nil {
			p["nodePort"] = "<nodePort>"
		}
	}
}

func strs(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			v[key] = strs(value)
		}
		return v
	case []any:
		for i := range v {
			v[i] = strs(v[i])
		}
		return v
	case string:
		s := timeText.ReplaceAllString(v, "<time>")
		s = uidText.ReplaceAllString(s, "<uid>")
		s = accessText.ReplaceAllString(s, "kube-api-access-<suffix>")
		s = ageCell.ReplaceAllString(s, "<age>")
		s = generated.ReplaceAllString(s, "<suffix>")
		return strings.ReplaceAll(s, "10.96.0.99", "<ip>")
	}
	return v
}
