<?php

namespace App\Jobs;

use Illuminate\Bus\Queueable;
use Illuminate\Contracts\Queue\ShouldQueue;
use Illuminate\Foundation\Bus\Dispatchable;
use Illuminate\Support\Facades\DB;

/**
 * What there is to do after a recharge has settled. Yours to write: a mail, a text message, money given back. It may happen
 * twice, if the machine stops before the job is crossed off.
 */
class TellCustomer implements ShouldQueue
{
    use Dispatchable, Queueable;

    public function __construct(public string $referenceNo, public string $status)
    {
    }

    public function handle(): void
    {
        DB::table('notice')->insert(['reference_no' => $this->referenceNo, 'text' => "Your recharge: {$this->status}."]);
    }
}
