# Runs in the guest: makes hosts with RDMA devices, runs each stage, prints a table. Exit status: how many stages failed.
#   inside.sh BUILD_FOLDER [STAGE…]
build=$1
shift
. /project/tests/vm/hosts.sh
export ASHLAR_TEST_RDMA_ADDRESS=10.8.0.1 ASHLAR_TEST_RDMA_PEER=10.8.0.2 ASHLAR_TEST_RDMA_CUT="ip link set b2"
ulimit -l unlimited
ulimit -c 0
cd /tmp

# The rules every backend keeps, with the device's immediate and without.
stage_conformance() { "$build/tests/fabric_test" --gtest_filter='*verbs*:Verbs*' --gtest_brief=1; }
# What only two processes or hosts can do to each other.
stage_faults() { "$build/tests/verbs_fault_test" --gtest_color=no; }

failed=0
table=
hosts 3 || exit 99
for stage in ${*:-conformance faults}; do
  echo "== $stage"
  before=$(cut -d' ' -f1 /proc/uptime)
  if "stage_$stage" > "/tmp/$stage.log" 2>&1; then result=passed; else result=FAILED; failed=$((failed + 1)); fi
  after=$(cut -d' ' -f1 /proc/uptime)
  grep -vE 'RDMA device opened|gtest_main' "/tmp/$stage.log"
  table+=$(printf '%-14s %-8s %6.1f s' "$stage" $result "$(echo "$before $after" | awk '{print $2 - $1}')")$'\n'
done
echo
echo "$table"
exit $failed
