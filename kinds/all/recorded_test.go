package all

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds"
)

// A player plays the writes of a recording against the rules of the table alone: no
// server, no store. The state is what Kubernetes answered last.
type player struct {
	t     *testing.T
	table *kinds.Table
	state map[string]map[string]any
	vars  map[string]any
}

type step struct {
	About, Method, Path string
	Headers             map[string]any
	Body                any
	Ignore              bool
	Capture             map[string]string
	Status              int
	Response            any
	Mask                []string
	ResponseHeaders     map[string]any
}

// target is where a request goes.
type target struct {
	kind    *kinds.Kind
	version *kinds.Version
	object  string // path of the object in any version
	sub     string
}

func (p *player) target(path string) (target, bool) {
	path, _, _ = strings.Cut(path, "?")
	parts := strings.Split(strings.Trim(path, "/"), "/")
	var gv schema.GroupVersion
	switch {
	case len(parts) > 2 && parts[0] == "api":
		gv, parts = schema.GroupVersion{Version: parts[1]}, parts[2:]
	case len(parts) > 3 && parts[0] == "apis":
		gv, parts = schema.GroupVersion{Group: parts[1], Version: parts[2]}, parts[3:]
	default:
		return target{}, false
	}
	ns := ""
	if len(parts) > 2 && parts[0] == "namespaces" {
		ns, parts = parts[1], parts[2:]
	}
	k, ok := p.table.ByGVR(gv.WithResource(parts[0]))
	if !ok || k.Virtual {
		return target{}, false
	}
	v, _ := k.ServedAs(gv)
	to := target{kind: k, version: v, object: k.Group + "/" + k.Resource + "/" + ns}
	if len(parts) > 1 {
		to.object += "/" + parts[1]
	}
	if len(parts) > 2 {
		to.sub = parts[2]
	}
	return to, true
}

func (p *player) fill(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			out[k] = p.fill(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = p.fill(v[i])
		}
		return out
	case string:
		for name, value := range p.vars {
			if v == "${"+name+"}" {
				return value
			}
			if text, ok := value.(string); ok {
				v = strings.ReplaceAll(v, "${"+name+"}", text)
			}
		}
		return v
	}
	return v
}

// decode reads an object in the form of a target, with its defaults, as the hub.
func decode(to target, raw []byte) (kinds.Object, error) {
	if to.version.New == nil {
		obj := to.kind.New()
		if err := json.Unmarshal(raw, obj); err != nil {
			return nil, err
		}
		setDefaults(to.kind, obj)
		return obj, nil
	}
	old := to.version.New()
	if err := json.Unmarshal(raw, old); err != nil {
		return nil, err
	}
	if to.version.Default != nil {
		to.version.Default(old)
	}
	obj, err := to.version.ToHub(old)
	if err == nil {
		setDefaults(to.kind, obj)
	}
	return obj, err
}

func setDefaults(k *kinds.Kind, obj kinds.Object) {
	if k.Default != nil {
		k.Default(obj)
	}
}

func (p *player) create(to target, raw []byte) (kinds.Object, field.ErrorList, []string, error) {
	obj, err := decode(to, raw)
	if err != nil {
		return nil, nil, nil, err
	}
	obj.SetUID(anyUID)
	parts := strings.Split(to.object, "/")
	if to.kind.Namespaced {
		obj.SetNamespace(parts[len(parts)-1])
	}
	if to.kind.PrepareCreate != nil {
		to.kind.PrepareCreate(obj)
	}
	var errs field.ErrorList
	if to.kind.Name != nil {
		errs = apivalidation.ValidateObjectMetaAccessor(obj, to.kind.Namespaced, apivalidation.ValidateNameFunc(to.kind.Name), field.NewPath("metadata"))
	}
	if to.kind.Validate != nil {
		errs = append(errs, to.kind.Validate(obj)...)
	}
	var warnings []string
	if to.kind.Warnings != nil && len(errs) == 0 {
		warnings = to.kind.Warnings(obj, nil)
	}
	if to.kind.DefaultStored {
		to.kind.Default(obj)
	}
	return obj, errs, warnings, nil
}

func (p *player) update(to target, raw, before []byte) (kinds.Object, field.ErrorList, []string, error) {
	obj, err := decode(to, raw)
	if err != nil {
		return nil, nil, nil, err
	}
	old, err := decode(to, before)
	if err != nil {
		return nil, nil, nil, err
	}
	obj.SetUID(old.GetUID())
	obj.SetResourceVersion("1")
	old.SetResourceVersion("1")
	obj.SetNamespace(old.GetNamespace())
	obj.SetGeneration(old.GetGeneration())
	obj.SetCreationTimestamp(old.GetCreationTimestamp())
	prepare, judge := to.kind.PrepareUpdate, to.kind.ValidateUpdate
	if to.sub != "" {
		s, ok := to.kind.Subresources[to.sub]
		if !ok || s.PrepareUpdate == nil {
			return nil, nil, nil, fmt.Errorf("no writes through %s", to.sub)
		}
		prepare, judge = s.PrepareUpdate, s.ValidateUpdate
	}
	if prepare != nil {
		prepare(obj, old)
	}
	errs := apivalidation.ValidateObjectMetaAccessorUpdate(obj, old, field.NewPath("metadata"))
	if judge != nil {
		errs = append(errs, judge(obj, old)...)
	}
	var warnings []string
	if to.kind.Warnings != nil && to.sub == "" && len(errs) == 0 {
		warnings = to.kind.Warnings(obj, old)
	}
	if to.kind.DefaultStored {
		to.kind.Default(obj)
	}
	return obj, errs, warnings, nil
}

// play answers what the step should have, or says that it cannot be judged here.
func (p *player) play(s step) (why string, judged bool) {
	if s.Status != 200 && s.Status != 201 && s.Status != 422 {
		return "", false
	}
	if _, impersonated := s.Headers["Impersonate-User"]; impersonated {
		return "", false
	}
	to, ok := p.target(p.fill(s.Path).(string))
	if !ok || s.Body == nil || to.sub == "scale" {
		return "", false
	}
	raw, _ := json.Marshal(p.fill(s.Body))
	raw = []byte(placeholders.Replace(string(raw)))
	var obj kinds.Object
	var errs field.ErrorList
	var warnings []string
	var err error
	switch {
	case s.Method == "POST" && to.sub == "":
		obj, errs, warnings, err = p.create(to, raw)
	case s.Method == "PUT" || s.Method == "PATCH":
		old, ok := p.state[to.object]
		if !ok {
			return "", false
		}
		before, _ := json.Marshal(old)
		if s.Method == "PATCH" {
			switch s.Headers["Content-Type"] {
			case "application/merge-patch+json":
				raw, err = jsonpatch.MergePatch(before, raw)
			case "application/strategic-merge-patch+json":
				var form runtime.Object = to.kind.New()
				if to.version.New != nil {
					form = to.version.New()
				}
				raw, err = strategicpatch.StrategicMergePatch(before, raw, form)
			case "application/json-patch+json":
				var patch jsonpatch.Patch
				if patch, err = jsonpatch.DecodePatch(raw); err == nil {
					raw, err = patch.Apply(before)
				}
			default:
				return "", false
			}
		}
		if err == nil {
			obj, errs, warnings, err = p.update(to, raw, before)
		}
	default:
		return "", false
	}
	if err != nil {
		return fmt.Sprintf("%v", err), true
	}
	if why := compareWarnings(s, to, warnings); why != "" {
		return why, true
	}
	return p.compare(s, to, obj, errs), true
}

// anyUID stands for every uid of a recording.
const anyUID = "00000000-0000-4000-8000-000000000001"

// placeholders of a recording, as something that can be decoded.
var placeholders = strings.NewReplacer(`"\u003ctime\u003e"`, `"2026-01-01T00:00:00Z"`, `"\u003cmicrotime\u003e"`, `"2026-01-01T00:00:00.000000Z"`,
	`"\u003cuid\u003e"`, `"`+anyUID+`"`, `"\u003cip\u003e"`, `"10.96.0.9"`, `"\u003cnodePort\u003e"`, `30000`)

// capture sets the variables of a step from its recorded answer.
func (p *player) capture(s step) {
	for name, path := range s.Capture {
		v := s.Response
		for _, part := range strings.Split(strings.Trim(path, "/"), "/") {
			if part == "." || part == "" {
				continue
			}
			switch e := v.(type) {
			case map[string]any:
				v = e[strings.NewReplacer("~1", "/", "~0", "~").Replace(part)]
			case []any:
				n := 0
				if _, err := fmt.Sscan(part, &n); err != nil || n >= len(e) {
					v = nil
				} else {
					v = e[n]
				}
			default:
				v = nil
			}
		}
		if v != nil {
			p.vars[name] = v
		}
	}
}

// remember keeps what the server answered as the state of the object.
func (p *player) remember(s step) {
	obj, ok := s.Response.(map[string]any)
	to, found := p.target(p.fill(s.Path).(string))
	if !ok || !found || s.Status >= 300 || strings.Contains(s.Path, "dryRun") || to.sub == "scale" {
		return
	}
	meta, _ := obj["metadata"].(map[string]any)
	name, _ := meta["name"].(string)
	kind, _ := obj["kind"].(string)
	if name == "" || kind != to.kind.Kind {
		return
	}
	key := to.object
	if s.Method == "POST" && to.sub == "" {
		key += "/" + name
	}
	// Times of the recording are placeholders.
	raw, _ := json.Marshal(obj)
	text := placeholders.Replace(string(raw))
	var state map[string]any
	if json.Unmarshal([]byte(text), &state) == nil {
		if m, ok := state["metadata"].(map[string]any); ok {
			delete(m, "managedFields")
		}
		p.state[key] = state
	}
}

// TestRecordedWrites compares defaults, validation and warnings with what Kubernetes
// 1.36 answered. atLeast is the number of writes that agree; the rest are shown by -v.
func TestRecordedWrites(t *testing.T) {
	for _, file := range []struct {
		name    string
		atLeast int
	}{
		{"a-apps-deployment", 29},
		{"a-apps-daemonset", 18},
		{"a-scheduling-node", 31},
		{"a-autoscaling", 21},
		{"a-batch-job", 32}, // the rest prints a whole pod spec of Kubernetes' internal type
		{"a-networking", 47},
		{"a-admissionregistration", 30}, // the rest is CEL
		{"a-flowcontrol-apireg", 15},
		{"b-strategic", 25},
		{"e-cr-cel", 1},
		{"e-cr-subresources", 1},
		{"e-cr-validation", 2},
		{"e-crd-lifecycle", 7},
		{"f-authz", 2},
	} {
		t.Run(file.name, func(t *testing.T) {
			var rec struct {
				Namespace string
				Steps     []step
			}
			readJSON(t, shared(t, filepath.Join("recorded", file.name+".json")), &rec)
			p := &player{t: t, table: Table(), state: map[string]map[string]any{}, vars: map[string]any{}}
			agree, judged := 0, 0
			for i, s := range rec.Steps {
				if why, ok := p.play(s); ok && !s.Ignore {
					judged++
					if why == "" {
						agree++
					} else {
						t.Logf("step %d %s %s (%d) %s: %s", i, s.Method, s.Path, s.Status, s.About, why)
					}
				}
				p.remember(s)
				p.capture(s)
			}
			t.Logf("%d of %d writes agree", agree, judged)
			if agree < file.atLeast {
				t.Errorf("%d writes agree, %d did before", agree, file.atLeast)
			}
		})
	}
}
