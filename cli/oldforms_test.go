package cli

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/yaml"
)

func TestModernise(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"get pods -o wide", "get pods -o wide"},
		{"exec web ps aux", "exec web -- ps aux"},
		{"exec web -- ps aux", "exec web -- ps aux"},
		{"exec -it web sh", "exec -it web -- sh"},
		{"exec -it -c side web sh -c ls", "exec -it -c side web -- sh -c ls"},
		{"exec -itc side web sh", "exec -itc side web -- sh"},
		{"-n prod exec web env", "-n prod exec web -- env"},
		{"exec web", "exec web"},
		{"drain n1 --delete-local-data --force", "drain n1 --delete-emptydir-data --force"},
		{"drain n1 --delete-local-data=true", "drain n1 --delete-emptydir-data=true"},
		{"apply -f app.yaml --record", "apply -f app.yaml; annotate --overwrite -f app.yaml kubernetes.io/change-cause=kubectl apply -f app.yaml --record"},
		{"apply -f app.yaml --record=false", "apply -f app.yaml"},
		{"apply -f - --record", "apply -f -"},
		{"set image deployment/app app=app:v2 --record -n prod",
			"set image deployment/app app=app:v2 -n prod; annotate --overwrite --namespace=prod deployment/app kubernetes.io/change-cause=kubectl set image deployment/app app=app:v2 --record -n prod"},
		{"scale --replicas=3 deployment app --record",
			"scale --replicas=3 deployment app; annotate --overwrite deployment app kubernetes.io/change-cause=kubectl scale --replicas=3 deployment app --record"},
		{"run web --image=nginx --port=8080", "run web --image=nginx --port=8080"},
		{"run web --image=nginx --replicas=7 -n prod --dry-run -o yaml", "create -f - --namespace=prod --dry-run --output=yaml"},
		{"", ""},
	} {
		p := modernise(strings.Fields(c.in))
		var got []string
		for _, s := range p.Steps {
			got = append(got, strings.Join(s.Args, " "))
		}
		if g := strings.Join(got, "; "); g != c.want {
			t.Errorf("%q:\n got %q\nwant %q", c.in, g, c.want)
		}
		if changed := c.in != strings.Join(got, "; "); changed != (len(p.Notes) > 0) {
			t.Errorf("%q: notes %q", c.in, p.Notes)
		}
	}
}

func TestOldRunMakesADeployment(t *testing.T) {
	p := modernise([]string{"run", "web", "--image=nginx:1", "--port=8080", "--labels=app=web,tier=a b", "--replicas=7", "--env=A=b: c", "--", "serve", "-x"})
	var d appsv1.Deployment
	if err := yaml.UnmarshalStrict([]byte(p.Steps[0].Stdin), &d); err != nil {
		t.Fatalf("%v in\n%s", err, p.Steps[0].Stdin)
	}
	c := d.Spec.Template.Spec.Containers[0]
	if *d.Spec.Replicas != 7 || c.Image != "nginx:1" || c.Ports[0].ContainerPort != 8080 ||
		d.Spec.Selector.MatchLabels["tier"] != "a b" || d.Spec.Template.Labels["app"] != "web" ||
		c.Env[0].Value != "b: c" || strings.Join(c.Args, " ") != "serve -x" {
		t.Errorf("got %+v", d)
	}
}

// FuzzModernise: whatever people type, it neither panics nor loses an argument
// of a line that it does not know.
func FuzzModernise(f *testing.F) {
	f.Add("exec -it web sh")
	f.Add("run web --image nginx --replicas 3 --env")
	f.Add("-n")
	f.Fuzz(func(t *testing.T, s string) {
		args := strings.Fields(s)
		p := modernise(args)
		if len(p.Notes) == 0 && strings.Join(p.Steps[0].Args, " ") != strings.Join(args, " ") {
			t.Errorf("%q changed without a word to %q", args, p.Steps[0].Args)
		}
	})
}
