package admit

import (
	"encoding/json"
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"skiff.dev/skiff/apiserver/admission"
	"skiff.dev/skiff/kinds/settings"
)

func preset(t *testing.T, name, spec string) *settings.PodPreset {
	t.Helper()
	p := &settings.PodPreset{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, ResourceVersion: "7"}}
	if err := yaml.UnmarshalStrict([]byte(spec), &p.Spec); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestPodPreset has the cases of Kubernetes 1.19's plugin.
func TestPodPreset(t *testing.T) {
	const database = `
selector: {matchLabels: {app: web}}
env: [{name: DB_PORT, value: "6379"}]
envFrom: [{configMapRef: {name: db}}]
volumes: [{name: cache, emptyDir: {}}]
volumeMounts: [{name: cache, mountPath: /cache}]
`
	for _, tc := range []struct {
		name, pod string
		presets   []string
		want      string // the pod's spec; "" leaves it as it is
		notes     int
		warning   string
	}{
		{
			name: "all containers get all of it", presets: []string{database},
			pod:   `{metadata: {labels: {app: web}}, spec: {containers: [{name: c, env: [{name: A, value: b}]}], initContainers: [{name: i}]}}`,
			want:  `{containers: [{name: c, env: [{name: A, value: b}, {name: DB_PORT, value: "6379"}], envFrom: [{configMapRef: {name: db}}], volumeMounts: [{name: cache, mountPath: /cache}]}], initContainers: [{name: i, env: [{name: DB_PORT, value: "6379"}], envFrom: [{configMapRef: {name: db}}], volumeMounts: [{name: cache, mountPath: /cache}]}], volumes: [{name: cache, emptyDir: {}}]}`,
			notes: 1,
		},
		{name: "labels that are not selected", presets: []string{database}, pod: `{metadata: {labels: {app: x}}, spec: {containers: [{name: c}]}}`},
		{name: "an annotation that excludes", presets: []string{database}, pod: `{metadata: {labels: {app: web}, annotations: {podpreset.admission.kubernetes.io/exclude: "true"}}, spec: {containers: [{name: c}]}}`},
		{name: "a mirror pod", presets: []string{database}, pod: `{metadata: {labels: {app: web}, annotations: {kubernetes.io/config.mirror: x}}, spec: {containers: [{name: c}]}}`},
		{
			name: "an equal variable is no conflict", presets: []string{`{selector: {}, env: [{name: A, value: b}]}`},
			pod: `{spec: {containers: [{name: c, env: [{name: A, value: b}]}]}}`, want: `{containers: [{name: c, env: [{name: A, value: b}]}]}`, notes: 1,
		},
		{
			name: "another value", presets: []string{`{selector: {}, env: [{name: A, value: x}]}`, `{selector: {}, env: [{name: B, value: b}]}`},
			pod: `{spec: {containers: [{name: c, env: [{name: A, value: b}]}]}}`, warning: "PodPreset: none applied: merging env for s0 has a conflict on A",
		},
		{
			name: "presets that disagree", presets: []string{`{selector: {}, volumes: [{name: v, emptyDir: {}}]}`, `{selector: {}, volumes: [{name: v, hostPath: {path: /}}]}`},
			pod: `{spec: {containers: [{name: c}]}}`, warning: "PodPreset: none applied: merging volumes for s1 has a conflict on v",
		},
		{
			name: "another mount at the path", presets: []string{`{selector: {}, volumeMounts: [{name: w, mountPath: /d}]}`},
			pod: `{spec: {containers: [{name: c, volumeMounts: [{name: v, mountPath: /d}]}]}}`, warning: "PodPreset: none applied: merging volume mounts for s0 has a conflict on mount path /d",
		},
		{
			name: "another mount of the volume", presets: []string{`{selector: {}, volumeMounts: [{name: v, mountPath: /e}]}`},
			pod: `{spec: {containers: [{name: c, volumeMounts: [{name: v, mountPath: /d}]}]}}`, warning: "PodPreset: none applied: merging volume mounts for s0 has a conflict on v",
		},
		{
			name: "sources of variables are added even twice", presets: []string{`{selector: {}, envFrom: [{secretRef: {name: s}}]}`, `{selector: {}, envFrom: [{secretRef: {name: s}}]}`},
			pod: `{spec: {containers: [{name: c}]}}`, want: `{containers: [{name: c, envFrom: [{secretRef: {name: s}}, {secretRef: {name: s}}]}]}`, notes: 2,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var p v1.Pod
			if err := yaml.UnmarshalStrict([]byte(tc.pod), &p); err != nil {
				t.Fatal(err)
			}
			p.Namespace = "ns"
			before := p.DeepCopy()
			c := cluster{}
			for i, s := range tc.presets {
				c[podPresets] = append(c[podPresets], preset(t, "s"+string(rune('0'+i)), s))
			}
			shared, _ := json.Marshal(c[podPresets])
			r := request(admission.Create, "pods", &p, nil)
			expect(t, run(t, c, r, &PodPreset{}), "")
			if after, _ := json.Marshal(c[podPresets]); string(after) != string(shared) {
				t.Error("a preset was changed")
			}
			want := before.Spec
			if tc.want != "" {
				want = v1.PodSpec{}
				if err := yaml.UnmarshalStrict([]byte(tc.want), &want); err != nil {
					t.Fatal(err)
				}
			}
			w, _ := json.Marshal(want)
			if have, _ := json.Marshal(p.Spec); string(have) != string(w) {
				t.Errorf("got %s\nwant %s", have, w)
			}
			notes := 0
			for k, v := range p.Annotations {
				if before.Annotations[k] == "" {
					notes++
					if v != "7" || k[:len(presetPrefix+"podpreset-s")] != presetPrefix+"podpreset-s" {
						t.Errorf("%s: %s", k, v)
					}
				}
			}
			if notes != tc.notes {
				t.Errorf("annotations %v", p.Annotations)
			}
			if w := r.Warnings(); len(w) > 1 || len(w) == 1 && w[0] != tc.warning || len(w) == 0 && tc.warning != "" {
				t.Errorf("warnings %v, want %s", w, tc.warning)
			}
		})
	}
}
