<?php

namespace App\Services;

use App\Jobs\TellCustomer;
use Illuminate\Support\Facades\DB;

class Ringback
{
    private const KNOWN = ['recharge.success', 'recharge.failed', 'recharge.reversed'];

    /**
     * An event takes effect once, whether it was sent here, sent again or read from the feed; an older fact changes
     * nothing, and neither does an event of a type that means nothing here.
     */
    public function record(string $id, array $event): void
    {
        if (! in_array($event['type'], self::KNOWN, true)) {
            return;
        }
        DB::transaction(function () use ($id, $event) {
            if (DB::table('seen')->insertOrIgnore(['id' => $id]) === 0) {
                return;
            }
            $data = $event['data'];
            $known = DB::table('recharge')->where('reference_no', $data['reference_no'])->lockForUpdate()->first();
            if ($known && $known->sequence >= $data['sequence']) {
                return;
            }
            DB::table('recharge')->updateOrInsert(
                ['reference_no' => $data['reference_no']],
                ['status' => $data['status'], 'amount' => $data['amount'], 'sequence' => $data['sequence']],
            );
            // With the queue in this database (QUEUE_CONNECTION=database, after_commit off), the job is a part of this
            // transaction: it is there if, and only if, the rest is.
            TellCustomer::dispatch($data['reference_no'], $data['status']);
        });
    }
}
