//lint:file-ignore SA1019 the server's own rule, and the filler's way in

package core

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	pathname "k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"skiff.dev/skiff/kinds"
)

// recordedDir finds the recorded answers of Kubernetes beside the repository.
func recordedDir(t *testing.T) string {
	if dir := os.Getenv("SKIFF_SHARED"); dir != "" {
		return filepath.Join(dir, "recorded")
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "shared", "recorded")); err == nil {
			return filepath.Join(dir, "shared", "recorded")
		}
	}
	t.Skip("needs the recorded answers: no shared/recorded beside the repository, no SKIFF_SHARED")
	return ""
}

type step struct {
	About, Method, Path string
	Headers             map[string]any
	Body                json.RawMessage
	Capture             map[string]string
	Ignore              bool
	Mask                []string
	Keep                []string
	Status              int
	ResponseHeaders     map[string]any
	Response            any
}

// knownDifferences are recorded steps that are not the rules' to answer: admission,
// allocation and preconditions of the server.
var knownDifferences = map[string]string{
	"c-errors/55":            "the server drops selfLink",
	"f-finalizers-owners/27": "the server drops a repeated owner, with a warning",
	"f-pod-subresources/20":  "the server's binding has set node, zone and condition before",
	"f-pod-subresources/29":  "the server's binding has set node, zone and condition before",
	"f-podsecurity/27":       "admission judges pod security labels",
	"f-podsecurity/28":       "admission judges pod security labels",
}

// TestRecorded plays what was recorded of the core group against the rules alone: it
// decodes, defaults, prepares and judges, and compares errors, warnings, objects and
// Tables with what Kubernetes answered.
func TestRecorded(t *testing.T) {
	dir := recordedDir(t)
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no recorded answers in %s: %v", dir, err)
	}
	table := kinds.NewTable(Kinds())
	played, agreed := 0, 0
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		if strings.HasPrefix(name, "f-admission") {
			continue // What policies change is not the rules' to know.
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var recorded struct{ Steps []step }
		if err := json.Unmarshal(data, &recorded); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		p := &player{table: table, objects: map[string]kinds.Object{}, vars: map[string]any{}}
		for i := range recorded.Steps {
			s := &recorded.Steps[i]
			s.Body = p.substitute(s.Body)
			got, ok := p.play(s)
			p.capture(s, got)
			if !ok || s.Ignore {
				continue
			}
			played++
			why, known := knownDifferences[fmt.Sprintf("%s/%d", name, i)]
			diff := p.compare(s, got)
			switch {
			case diff == "" && known:
				t.Errorf("%s/%d agrees by now", name, i)
			case diff == "":
				agreed++
			case known:
				t.Logf("%s/%d: %s", name, i, why)
			default:
				t.Errorf("%s/%d %s %s %q:\n%s", name, i, s.Method, s.Path, s.About, diff)
			}
		}
	}
	t.Logf("%d of %d steps agree", agreed, played)
}

// player keeps the objects that a file has made.
type player struct {
	table   *kinds.Table
	objects map[string]kinds.Object
	vars    map[string]any
}

// substitute puts captured values where a body names them.
func (p *player) substitute(body json.RawMessage) json.RawMessage {
	text := string(body)
	for name, value := range p.vars {
		data, _ := json.Marshal(value)
		text = strings.ReplaceAll(text, `"${`+name+`}"`, string(data))
		if plain, ok := value.(string); ok {
			text = strings.ReplaceAll(text, "${"+name+"}", plain)
		}
	}
	return json.RawMessage(text)
}

// capture keeps parts of an answer for later steps.
func (p *player) capture(s *step, a answer) {
	if len(s.Capture) == 0 || a.kind == nil {
		return
	}
	if a.obj == nil {
		parts := strings.Split(strings.Split(s.Path, "?")[0], "/")
		for key, obj := range p.objects {
			if strings.HasPrefix(key, a.kind.Resource+"/") && obj.GetName() == parts[len(parts)-1] && strings.Contains(s.Path, "/"+obj.GetNamespace()) {
				a.obj = obj
			}
		}
	}
	if a.obj == nil {
		return
	}
	for name, path := range s.Capture {
		value := tree(a.obj)
		for _, part := range strings.Split(path, "/") {
			if m, ok := value.(map[string]any); ok && path != "." {
				value = m[part]
			}
		}
		if value != nil {
			p.vars[name] = value
		}
	}
}

// answer is what the rules say of a step.
type answer struct {
	kind     *kinds.Kind
	obj      kinds.Object
	errs     field.ErrorList
	warnings []string
	table    bool
	name     string
}

// play answers a step, false where that takes a server.
func (p *player) play(s *step) (answer, bool) {
	u, err := url.Parse(s.Path)
	if err != nil || !strings.HasPrefix(u.Path, "/api/v1/") {
		return answer{}, false
	}
	parts := strings.Split(strings.TrimPrefix(u.Path, "/api/v1/"), "/")
	ns := ""
	if parts[0] == "namespaces" && len(parts) > 2 && parts[2] != "finalize" && parts[2] != "status" {
		ns, parts = parts[1], parts[2:]
	}
	kind, ok := p.table.ByGVR(v1.SchemeGroupVersion.WithResource(parts[0]))
	if !ok {
		return answer{}, false
	}
	a := answer{kind: kind}
	if s.Status == 422 && failedKind(s) != kind.Kind {
		return a, false
	}
	if len(parts) == 1 {
		if s.Method != "POST" || s.Status != 201 && s.Status != 422 {
			return a, false
		}
		return a, p.create(s, &a, ns, u.Query().Has("dryRun"))
	}
	key := kind.Resource + "/" + ns + "/" + parts[1]
	old, there := p.objects[key]
	if !there {
		return a, false
	}
	switch accept, _ := s.Headers["Accept"].(string); s.Method {
	case "DELETE":
		if s.Status == 200 && !u.Query().Has("dryRun") {
			delete(p.objects, key)
		}
		return a, false
	case "GET":
		if a.kind.Cells == nil || !strings.Contains(accept, "as=Table") || s.Status != 200 || len(parts) != 2 {
			return a, false
		}
		a.table, a.obj = true, old
		return a, true
	case "PUT", "PATCH":
		if s.Status != 200 && s.Status != 422 {
			return a, false
		}
		sub := ""
		if len(parts) > 2 {
			sub = parts[2]
		}
		if !p.update(s, &a, old, sub) {
			return a, false
		}
		if s.Status == 200 && !u.Query().Has("dryRun") {
			p.objects[key] = a.obj
		}
		return a, true
	}
	return a, false
}

// failedKind is the kind that a recorded Status blames.
func failedKind(s *step) any {
	status, _ := s.Response.(map[string]any)
	details, _ := status["details"].(map[string]any)
	return details["kind"]
}

func (p *player) create(s *step, a *answer, ns string, dry bool) bool {
	obj := a.kind.New()
	if json.Unmarshal(s.Body, obj) != nil {
		return false
	}
	if a.kind.Namespaced {
		obj.SetNamespace(ns)
	}
	a.obj, a.name = obj, obj.GetName()
	if a.kind.Default != nil {
		a.kind.Default(obj)
	}
	a.errs = admit(obj)
	if a.kind.PrepareCreate != nil {
		a.kind.PrepareCreate(obj)
	}
	if obj.GetGenerateName() != "" && obj.GetName() == "" {
		obj.SetName(obj.GetGenerateName() + "bcdfg")
		if a.kind.Default != nil {
			a.kind.Default(obj)
		}
	}
	if len(a.errs) == 0 {
		if _, isEvent := obj.(*v1.Event); !isEvent {
			a.errs = metaErrors(a.kind, obj)
		}
		a.errs = append(a.errs, a.kind.Validate(obj)...)
	}
	if a.kind.Warnings != nil && len(a.errs) == 0 {
		a.warnings = a.kind.Warnings(obj, nil)
	}
	if len(a.errs) == 0 && !dry {
		obj.SetUID("ab54a98c-0000-4000-8000-0123456789ab")
		obj.SetResourceVersion("1")
		obj.SetCreationTimestamp(metav1.Now())
		p.objects[a.kind.Resource+"/"+obj.GetNamespace()+"/"+obj.GetName()] = obj
	}
	return true
}

// metaErrors are the general rules of metadata, which are the server's.
func metaErrors(k *kinds.Kind, obj kinds.Object) field.ErrorList {
	path := field.NewPath("metadata")
	return apivalidation.ValidateObjectMetaAccessor(obj, k.Namespaced, k.Name, path)
}

func (p *player) update(s *step, a *answer, old kinds.Object, sub string) bool {
	var part kinds.Subresource
	if sub != "" {
		var ok bool
		if part, ok = a.kind.Subresources[sub]; !ok || part.ValidateUpdate == nil {
			return false
		}
	}
	body := s.Body
	if s.Method == "PATCH" {
		var err error
		if body, err = patched(s, old); err != nil {
			return false
		}
	}
	obj := a.kind.New()
	if json.Unmarshal(body, obj) != nil {
		return false
	}
	obj.SetNamespace(old.GetNamespace())
	if obj.GetUID() == "" {
		obj.SetUID(old.GetUID())
	}
	obj.SetCreationTimestamp(old.GetCreationTimestamp())
	obj.SetGeneration(old.GetGeneration())
	obj.SetResourceVersion("1")
	a.obj, a.name = obj, obj.GetName()
	old = old.DeepCopyObject().(kinds.Object)
	if a.kind.Default != nil {
		a.kind.Default(obj)
	}
	if pod, ok := obj.(*v1.Pod); ok && sub == "" {
		tolerateNodes(pod)
	}
	prepare, validate := a.kind.PrepareUpdate, a.kind.ValidateUpdate
	if sub != "" {
		prepare, validate = part.PrepareUpdate, part.ValidateUpdate
	}
	if n, ok := obj.(*v1.Service); ok && sub == "" {
		o := old.(*v1.Service)
		if n.Spec.ClusterIP == "" && n.Spec.Type != v1.ServiceTypeExternalName && o.Spec.ClusterIP != "" && s.Method == "PUT" {
			n.Spec.ClusterIP, n.Spec.ClusterIPs = o.Spec.ClusterIP, o.Spec.ClusterIPs
		}
	}
	if prepare != nil {
		prepare(obj, old)
	}
	if n, ok := obj.(*v1.Service); ok && sub == "" {
		allocateUpdate(n, old.(*v1.Service))
	}
	// The server judges metadata both ways before the kind does.
	meta := field.NewPath("metadata")
	a.errs = apivalidation.ValidateObjectMetaAccessor(obj, a.kind.Namespaced, pathname.ValidatePathSegmentName, meta)
	a.errs = append(a.errs, apivalidation.ValidateObjectMetaAccessorUpdate(obj, old, meta)...)
	a.errs = append(a.errs, validate(obj, old)...)
	if sub == "" && a.kind.Warnings != nil && len(a.errs) == 0 {
		a.warnings = a.kind.Warnings(obj, old)
	}
	return true
}

func patched(s *step, old kinds.Object) ([]byte, error) {
	doc, err := json.Marshal(old)
	if err != nil {
		return nil, err
	}
	switch s.Headers["Content-Type"] {
	case "application/merge-patch+json":
		return jsonpatch.MergePatch(doc, s.Body)
	case "application/strategic-merge-patch+json":
		return strategicpatch.StrategicMergePatch(doc, s.Body, old)
	case "application/json-patch+json":
		patch, err := jsonpatch.DecodePatch(s.Body)
		if err != nil {
			return nil, err
		}
		return patch.Apply(doc)
	}
	return nil, fmt.Errorf("no patch: %v", s.Headers["Content-Type"])
}

// compare tells how an answer differs from the recorded one; "" if it does not.
func (p *player) compare(s *step, a answer) string {
	var got any
	want := s.Response
	switch {
	case a.table:
		got = map[string]any{"columns": a.kind.Columns, "cells": a.kind.Cells(a.obj, time.Now().Add(3*time.Second))}
		w, _ := want.(map[string]any)
		row, _ := w["rows"].([]any)
		if w["columnDefinitions"] == nil {
			return "no columns"
		}
		if slices.Contains(s.Mask, "rows") {
			return difference(w["columnDefinitions"], tree(a.kind.Columns))
		}
		if len(row) != 1 {
			return "no single row"
		}
		cells, _ := row[0].(map[string]any)["cells"].([]any)
		want = map[string]any{"columns": w["columnDefinitions"], "cells": cells}
		got = tree(got)
		if slices.Contains(s.Mask, "rows/*/cells/4") && len(cells) < len(a.kind.Columns) {
			list := got.(map[string]any)["cells"].([]any)
			got.(map[string]any)["cells"] = slices.Delete(list, 4, 5)
		}
		return difference(normal(want, s.Mask), normal(got, s.Mask))
	case len(a.errs) > 0:
		status := apierrors.NewInvalid(a.kind.GVK().GroupKind(), a.name, a.errs).ErrStatus
		status.Kind, status.APIVersion = "Status", "v1"
		got = statusForm(tree(status))
	default:
		obj := a.obj.DeepCopyObject()
		obj.GetObjectKind().SetGroupVersionKind(a.kind.GVK())
		got = tree(obj)
		if len(s.Keep) > 0 {
			return ""
		}
	}
	if diff := difference(normal(want, s.Mask), normal(got, s.Mask)); diff != "" {
		return diff
	}
	if s.Method == "PATCH" || s.Method == "PUT" {
		return ""
	}
	return difference(warningHeaders(s.ResponseHeaders["Warning"]), a.warnings)
}

func warningHeaders(h any) []string {
	var out []string
	list, ok := h.([]any)
	if !ok && h != nil {
		list = []any{h}
	}
	for _, text := range list {
		text, _ := strings.CutPrefix(text.(string), "299 - ")
		var plain string
		if json.Unmarshal([]byte(text), &plain) != nil {
			plain = text
		}
		if !strings.HasPrefix(plain, "unknown field") && !strings.HasPrefix(plain, "duplicate field") &&
			!strings.HasPrefix(plain, "would violate PodSecurity") && !strings.HasPrefix(plain, "v1 Endpoints is deprecated") {
			out = append(out, plain)
		}
	}
	return out
}

func difference(want, got any) string {
	if w, ok := want.([]string); ok {
		g, _ := got.([]string)
		g = slices.Clone(g)
		slices.Sort(g)
		slices.Sort(w)
		if slices.Equal(w, g) {
			return ""
		}
		return fmt.Sprintf("warnings: want %q\n          got %q", w, g)
	}
	if reflect.DeepEqual(want, got) {
		return ""
	}
	w, _ := json.MarshalIndent(want, "", " ")
	g, _ := json.MarshalIndent(got, "", " ")
	return lineDiff(strings.Split(string(w), "\n"), strings.Split(string(g), "\n"))
}

// lineDiff shows the lines that only one side has.
func lineDiff(want, got []string) string {
	var out []string
	for _, l := range want {
		if !slices.Contains(got, l) {
			out = append(out, "- "+l)
		}
	}
	for _, l := range got {
		if !slices.Contains(want, l) {
			out = append(out, "+ "+l)
		}
	}
	if len(out) == 0 {
		out = append(want, append([]string{"---- got:"}, got...)...)
	}
	return strings.Join(out, "\n")
}
